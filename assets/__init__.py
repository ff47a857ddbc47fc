"""The flow: one module a table. Each reads, makes one call, and tells what came of it."""
