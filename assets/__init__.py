"""The flow: one module per table. Each reads, makes one call, and tells what came of it."""
