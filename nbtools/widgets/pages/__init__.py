"""Finished runs in, pages for a browser out: what each page knows, packed into few bytes, and the scripts that draw."""
