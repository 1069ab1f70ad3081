"""What the report says and shows; `analysis.reporting.report` puts it on one page."""
