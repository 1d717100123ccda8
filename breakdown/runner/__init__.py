"""The matrix loop: plan, launch, collect, align clocks, store, resume."""
