// Makes this process's own threads visible to a sampler of Python programs.
#pragma once

namespace breakdown {

// Where the process is sampled (BREAKDOWN_SAMPLED is set): notes which thread of the system writes to a ring of this name, and makes
// Python know the calling thread, for py-spy looks only at threads that Python knows.
void show_to_sampler(const char* ring);

}  // namespace breakdown
