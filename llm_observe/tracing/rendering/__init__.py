"""From a call to attributes and events of both conventions, as far as capture allows."""
