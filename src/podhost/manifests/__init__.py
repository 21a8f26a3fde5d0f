"""What is wrong with a manifest, where, and what was probably meant.

Pure: text in, faults and objects out.  Nothing here reads files, talks to a server or prints; the CLI does.
Neither aiohttp nor the typed models of the API may be imported here: ``podhost up`` starts in a moment.

The way of a text: ``documents`` cuts it at ``---``; ``yaml_nodes`` reads each part with marks; ``layout`` finds what
stands at the wrong indentation, by what the API's schema allows at each place; ``content`` checks fields, types and
values; ``server_errors`` finds the place of what an API server says; ``report`` puts it together.
"""
