"""What an encoder says about whole slides, and what that is for: clusters, search, labelling."""
