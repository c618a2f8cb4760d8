"""Where databases, services and object stores come from: providers, and stacks made of them."""
