"""Write HTML and Markdown: the report of a run and the comparison of several, from saved files."""
