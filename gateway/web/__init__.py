"""The HTTP side: `make_app` turns `Services` into an aiohttp application.

It reads presence from a `Hub`, asks the ports of `gateway.web.ports` for everything else, and knows neither store
nor sources. One file per noun (`presence`, `people`, `publications`, `preferences`, `operations`), each with its rows
of the table of routes; `edge` wraps them all, `problems` is the only way to fail.
"""
