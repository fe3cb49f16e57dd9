"""The Streamlit Llama 2 chatbot."""
