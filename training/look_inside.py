"""The figures of `predict.py`: attention, saliency and patches of a few images, drawn below each other."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from training.classes import short_class_names
from training.inside import attention_of, saliency_of
from training.inside_figures import Row, attention_row, figure, patches_row, saliency_row
from training.prediction_report import shown_path
from training.predictor import Prediction, PredictionStep
from training.trained import Trained

FIGURES = {
    "attention": "draw what each head of the last block attends to, and attention rollout, over the image",
    "saliency": "draw the gradient of the logits by the pixels",
    "patches": "draw the patches that the image is cut into",
}
MOST_DRAWN = 8  # images of a figure
GUESSES = 3  # whose saliency is drawn


def draw(kind: str, trained: Trained, predictions: Sequence[Prediction], images: Sequence[np.ndarray]) -> Image.Image:
    """The figure `kind`, one of FIGURES, of these predictions and their images, each uint8 (H, W, C).

    Raises:
        UserError: attention of a model that has none, or memory ran out.
    """
    batch, vit = np.stack(images), trained.model
    step = PredictionStep(vit, trained.classes.mean, trained.classes.std)
    names = short_class_names(trained.classes)
    titles = [shown_path(prediction.name) for prediction in predictions]
    said = [
        [f"{names[c]} {p:.1%}" for c, p in zip(prediction.classes, prediction.probabilities, strict=True)]
        for prediction in predictions
    ]
    rows: list[Row]
    if kind == "patches":
        rows = [patches_row(title, image, vit) for title, image in zip(titles, batch, strict=True)]
    elif kind == "attention":
        attention = attention_of(step, trained.params, batch)
        rows = [attention_row(titles[i], said[i][0], batch[i], attention, i, vit) for i in range(len(batch))]
    else:
        guesses = np.stack([prediction.classes for prediction in predictions], axis=1)[:GUESSES]  # (k, B)
        gradients = [saliency_of(step, trained.params, batch, classes) for classes in guesses]
        rows = [
            saliency_row(titles[i], batch[i], [(said[i][k], of_guess[i]) for k, of_guess in enumerate(gradients)])
            for i in range(len(batch))
        ]
    return figure(rows)
