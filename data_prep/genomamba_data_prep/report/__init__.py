"""Reports: self-contained HTML pages with charts, light and dark, that need no network."""
