"""The pages. Streamlit runs a file for each view of its page, from top to bottom."""
