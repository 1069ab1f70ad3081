"""What the report says and shows; `analysis.report` puts it on one page."""
