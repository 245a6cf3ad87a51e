"""Networks are the sample: scores of networks compared, what a sample can find, and what it says in words."""
