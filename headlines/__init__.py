"""What is known of headlines, drops, models and nights without a framework: rules, and no service that applies them."""
