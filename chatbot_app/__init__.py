"""The Streamlit Llama 2 chatbot, and a local Llama for it behind Replicate's API."""
