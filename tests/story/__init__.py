"""Helpers with which tests read as stories: an office with an Exchange, a gateway, screens that show presence.

    await office.books("ann", "10:00", "11:00")
    await screen.shows("ann", "In a meeting")

`office` is the simulated Exchange and its clock, `owner` a mailbox owner with a client nobody here wrote, `product`
the whole gateway in this process, `process` the same as a process of its own, `api` and `screen` its clients.
`witness` and `leftovers` guard every test of the suite.
"""
