// Makes this process's own threads visible to a sampler of Python programs.
#pragma once

namespace breakdown {

// Notes which thread of the system writes to a ring of this name. Where the process is sampled (BREAKDOWN_SAMPLED is set), makes
// Python know the calling thread: py-spy looks only at threads that Python knows.
void show_to_sampler(const char* ring);

}  // namespace breakdown
