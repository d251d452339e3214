"""One training job in, one result out."""
