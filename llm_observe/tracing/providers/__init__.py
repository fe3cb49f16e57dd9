"""What each client library's requests and answers mean; pure."""
