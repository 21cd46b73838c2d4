"""The page on which one trains: begin a training, or watch those that are there."""

import streamlit as st

from studio.runs import all_runs
from studio.views import starting, watching

BEGIN, WATCH = "Begin a training", "Watch"
PART = "part of the page"


def show() -> None:
    st.title("Train")
    runs = all_runs()
    if PART not in st.session_state:
        st.session_state[PART] = WATCH if runs else BEGIN
    if st.session_state.pop(starting.STARTED, False):
        st.session_state[PART] = WATCH
    part = st.segmented_control(
        PART, [BEGIN, WATCH], key=PART, label_visibility="collapsed", required=True, persist_state="session"
    )
    if part == WATCH:
        watching.show(runs)
    else:
        starting.show()


if __name__ == "__main__":
    show()
