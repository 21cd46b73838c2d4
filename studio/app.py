"""The pages of the studio. Streamlit runs this file for each view of a page; `python -m studio` starts Streamlit."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # Streamlit puts the folder of this file there
    sys.path.insert(0, str(ROOT))

import jax  # noqa: E402
import numpy as np  # noqa: E402
import streamlit as st  # noqa: E402
from PIL import Image  # noqa: E402

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
