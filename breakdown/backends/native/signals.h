// A signal that would end the process without a word (SIGTERM of a launcher, say) ends it after the last flush instead.
#pragma once

namespace breakdown {

// Only where nobody handles the signal: who does, decides when the process ends. `told`: called within the signal's handler.
void end_well_on_signals(void (*told)());

// The signal that asks the process to end; 0: none.
int ending_signal();

// Ends the process by that signal.
void end_by_signal();

// As before `end_well_on_signals`. For forked children, which have no flusher; safe to be called between fork and exec.
void leave_signals_alone();

}  // namespace breakdown
