"""The pure core: what the words mean and how presence is composed. No clock, no I/O, no asyncio, no logging."""
