"""The pages of the studio. Streamlit runs this file for each view of a page; `python -m studio` starts Streamlit."""

import jax
import numpy as np
import streamlit as st
from PIL import Image

# The studio computes nothing, but counting parameters would have JAX take memory of a GPU from those that do.
jax.config.update("jax_platforms", "cpu")

# A picture cut into patches. Drawn here: a named icon of the window would be fetched from the network.
ICON = np.kron(np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]])[:, :, None] * np.array([200, 57, 77]), np.ones((8, 8, 1)))

st.set_page_config(page_title="ViT studio", page_icon=Image.fromarray(ICON.astype(np.uint8)), layout="wide")
st.navigation(
    [
        st.Page("views/train.py", title="Train", icon=":material/model_training:", default=True),
        st.Page("views/predict.py", title="Predict", icon=":material/image_search:"),
        st.Page("views/inside.py", title="Look inside", icon=":material/query_stats:"),
        st.Page("views/gradients.py", title="Gradients", icon=":material/functions:"),
    ]
).run()
