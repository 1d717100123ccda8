"""Tables in, frozen findings out. Never draws, never launches."""
