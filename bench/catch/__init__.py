"""What `pillarbox catch` costs and how long it takes, against its goals; see ../README.md."""
