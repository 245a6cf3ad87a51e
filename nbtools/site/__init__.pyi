from .build import build_site as build_site
