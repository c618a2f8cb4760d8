"""What is judged without trusting a client."""
