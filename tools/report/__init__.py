"""One page that shows what runs have learnt: report.html, which opens from disk without a network."""
