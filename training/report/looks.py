"""The sections that look inside the model: attention, positions, filters of the patches, embeddings of the images."""

import jax.numpy as jnp
import numpy as np

from common.errors import UserError
from common.page import escape
from common.text import counted
from data.loader import epoch_order
from model.layers.patch_embedding import height_width
from model.layers.position_embedding import PositionEmbedding
from training.inside import attention_of
from training.inside_figures import SCALE
from training.predictor import PredictionStep
from training.report.analysis import patch_filters, position_similarity, principal_components
from training.report.charts import cloud
from training.report.material import Material, left_out, note, percent, picture, section
from training.report.pictures import attention_over, data_uri, filter_picture, similarity_tiles, thumbnail
from training.report.results import confident_mistakes

RIGHT, WRONG = 4, 2  # images whose attention is drawn
FILTERS = 28  # as in the paper
MOST_POINTS = 20_000  # images in the cloud; of more a sample is drawn
COLOURED = 8  # classes in the cloud


def attention(material: Material) -> str:
    anchor, title, vit = "attention", "What it attends to", material.trained.model
    chosen = attended_images(material)
    step = PredictionStep(vit, material.trained.classes.mean, material.trained.classes.std)
    try:
        found = attention_of(step, material.trained.params, np.stack([material.image(i) for i in chosen]))
    except UserError as error:
        why = "a model with model.layers=0 has no attention" if not vit.layers else str(error)
        return section(anchor, title, left_out(why))
    if not (np.isfinite(found.heads).all() and np.isfinite(found.rollout).all()):
        return section(anchor, title, left_out("the attention is no number, as of a run that diverged"))
    reader = "the class token" if vit.pooling == "class_token" else "the mean over all patches, which the head reads,"
    said = (
        f"How much {reader} draws from each patch, from dark (nothing) to bright (the most of this picture). "
        f"<em>Last block</em> is the mean of its {counted(vit.heads, 'head')}; <em>rollout</em> follows the attention "
        f"back through {counted(vit.layers, 'block')} (Abnar &amp; Zuidema 2020). A model that knows what it is about "
        "looks at the thing rather than its surroundings; the heads alone often look at different parts of it. Single "
        "bright patches of the background are common: the model keeps notes there (Darcet et al. 2024)."
    )
    rows = []
    for i, index in enumerate(chosen):
        pixels = material.image(index)
        label, guess = (material.names[of[index]] for of in (material.result.labels, material.result.predicted))
        verdict = "right" if label == guess else f"taken for <strong>{escape(guess)}</strong>"
        sure = percent(float(material.probabilities[index]))
        mean = found.heads[i].mean(axis=0)
        said_of = f"{escape(label)} <small>{verdict}, {sure}</small>"
        drawn = [(mean, "last block", "Attention of the last block"), (found.rollout[i], "rollout", "Rollout")]
        panels = [picture(data_uri(thumbnail(pixels)), f"Image {index}: {label}", said_of)]
        panels += [
            picture(data_uri(attention_over(pixels, grid)), f"{what} in image {index}", caption)
            for grid, caption, what in drawn
        ]
        panels += [
            picture(data_uri(attention_over(pixels, head)), f"Head {h} in image {index}", f"head {h}", "head")
            for h, head in enumerate(found.heads[i] if vit.heads > 1 else [], 1)
        ]
        rows.append(f'<div class="row">{"".join(panels[:3])}<div class="heads">{"".join(panels[3:])}</div></div>')
    return section(anchor, title, note(said), *rows)


def attended_images(material: Material) -> list[int]:
    """The most confident right image of classes that are spread over all, and the most confident mistakes."""
    probabilities = np.where(np.isfinite(material.probabilities), material.probabilities, 0)
    right = np.flatnonzero(material.right)
    right = right[np.argsort(-probabilities[right], kind="stable")]
    _, first = np.unique(material.result.labels[right], return_index=True)  # of each class the surest
    spread = right[first[np.unique(np.linspace(0, len(first) - 1, RIGHT).astype(int))]] if len(first) else []
    chosen = [*map(int, spread), *confident_mistakes(probabilities, material.right, WRONG).tolist()]
    return chosen or [0]


def positions(material: Material) -> str:
    anchor, title, vit = "positions", "What it knows about places", material.trained.model
    embedding = vit.position_embedding
    if embedding.positions == "none":
        return section(anchor, title, left_out("the model has no position embedding (model.positions=none)"))
    if embedding.positions == "learned":
        table = np.asarray(material.trained.params["position_embedding"]["positions"], float)[int(vit.class_token) :]
    else:
        fixed = PositionEmbedding(embedding.grid, embedding.d_model, class_token=False, positions=embedding.positions)
        nothing = jnp.zeros((1, embedding.grid[0] * embedding.grid[1], embedding.d_model))
        table = np.asarray(fixed.forward({}, nothing)[0][0], float)
    if len(table) < 2:
        return section(anchor, title, left_out("the image is a single patch"))
    if not np.isfinite(table).all():
        return section(anchor, title, left_out("the position embeddings are no numbers, as of a run that diverged"))
    tiles, low = similarity_tiles(position_similarity(table), embedding.grid)
    rows, columns = embedding.grid
    said = (
        f"A tile for each of the {rows} x {columns} places of a patch, in the arrangement of the image. In a tile, the "
        "colour of a place is the cosine similarity of its position embedding with that of the tile's own place, which "
        "is brightest. "
    )
    if embedding.positions == "learned":
        said += (
            "Nobody told the model where a patch lies: if the tiles are bright around their own places, or along their "
            "rows and columns, it has learned the grid."
        )
    else:
        said += f"These embeddings (model.positions={embedding.positions}) are fixed, not learned."
    alt = f"Similarities of the position embeddings, {rows} times {columns} tiles"
    return section(anchor, title, note(said), picture(data_uri(tiles), alt, _scale(f"{low:.2f}", "1"), "places"))


def _scale(low: str, high: str) -> str:
    """What the colours mean."""
    stops = ", ".join(f"rgb({r:.0f} {g:.0f} {b:.0f})" for r, g, b in SCALE)
    return f'{low} <span class="scale" style="background:linear-gradient(90deg, {stops})"></span> {high}'


def filters(material: Material) -> str:
    anchor, title, vit = "filters", "What it sees in a patch", material.trained.model
    (height, width), embedding = height_width(vit.patch_size), vit.patch_embedding
    weights = np.asarray(material.trained.params["patch_embedding"]["project"]["W"], float)  # (P, D)
    if vit.channels not in (1, 3):
        return section(anchor, title, left_out(f"an image with {vit.channels} channels has no colours to be drawn"))
    if not np.isfinite(weights).all():
        return section(anchor, title, left_out("the weights are no numbers, as of a run that diverged"))
    if not np.ptp(weights, axis=1).any():
        return section(anchor, title, left_out("all filters are alike"))
    shape = (height, width, embedding.channels)
    found, shares = patch_filters(weights, shape, FILTERS)
    kept = shares > 1e-9  # there are no more than D - 1 of them
    found, shares = found[kept], shares[kept]
    said = (
        f"The first layer compares each patch of {height} x {width} pixels with {counted(vit.d_model, 'filter')}. "
        f"Drawn are their first {counted(len(found), 'principal component')}, which hold "
        f"{percent(float(shares.sum()))} of the variance, each with its own share below it. Grey is a weight of zero. "
        "Plain colours, edges and waves, from coarse to fine, are what trained models have; noise is what they began "
        "with."
    )
    if vit.shifted_patches:
        said += " Of each component the part that sees the patch itself is drawn, and not the four shifted ones."
    if vit.patch_norm_before:
        said += " The weights apply to the normalized patch."
    own = found[..., : vit.channels]
    pictures = "".join(
        picture(data_uri(filter_picture(values)), f"Principal component {k}", percent(float(share)))
        for k, (values, share) in enumerate(zip(own, shares, strict=True), 1)
    )
    return section(anchor, title, note(said), f'<div class="filters">{pictures}</div>')


def embeddings(material: Material) -> str:
    anchor, title, vit = "embeddings", "Where the images lie", material.trained.model
    features, labels = material.features, material.result.labels
    if not np.isfinite(features).all():
        return section(anchor, title, left_out("the features are no numbers, as of a run that diverged"))
    if vit.d_model < 2 or len(features) < 3:
        return section(anchor, title, left_out("it takes two numbers an image, and three images"))
    if not np.ptp(features, axis=0).any():
        return section(anchor, title, left_out("all images have the same features"))
    coloured = coloured_classes(material.confusion)
    kinds = {c: f"k{i}" for i, c in enumerate(coloured)}
    what = "class token" if vit.pooling == "class_token" else "mean of the patch tokens"
    said = (
        f"Each point is an image: its {what} behind the last block, which the head reads, in the two directions in "
        f"which these differ most (the first two principal components of {vit.d_model}). Images of a class should lie "
        "together. The head has the other directions, too, to tell those apart that overlap here. Point at a point to "
        "see its class. "
    )
    some = np.isin(labels, coloured)
    few = bool(some.all())
    if not few:
        said += (
            f"The first picture has {'all' if len(labels) <= MOST_POINTS else f'{MOST_POINTS:,} of the'} images; "
            "coloured are the two most confused pairs of classes, and some of the easiest. The second picture has "
            "these classes alone, in directions of their own."
        )
    clouds = [_cloud(features, labels, material.names, kinds)]
    if not few and some.sum() > 2 and np.ptp(features[some], axis=0).any():
        clouds.append(_cloud(features[some], labels[some], material.names, kinds))
    keys = "".join(f'<span><i class="{kind}"></i>{escape(material.names[c])}</span>' for c, kind in kinds.items())
    drawn = "".join(f"<div>{drawing}</div>" for drawing in clouds)
    return section(anchor, title, note(said), f'<div class="pair">{drawn}</div><p class="keys">{keys}</p>')


def _cloud(features: np.ndarray, labels: np.ndarray, names: list[str], kinds: dict[int, str]) -> str:
    """The points of some images in their own first two principal components, with the share of the variance."""
    coordinates, _, shares = principal_components(features, 2)
    drawn = np.sort(epoch_order(len(labels), 0, 0)[:MOST_POINTS])
    alt = f"Features of {counted(len(drawn), 'image')} in two dimensions, coloured by class"
    across, up = (percent(float(share)) for share in shares)
    shape = cloud(coordinates[drawn], labels[drawn], names, kinds, alt)
    return f"{shape}<p><small>{across} of the variance from left to right, {up} from bottom to top</small></p>"


def coloured_classes(confusion: np.ndarray) -> list[int]:
    """All classes if they are few; else the two most confused pairs, and then those with the highest recall."""
    count = len(confusion)
    if count <= COLOURED:
        return list(range(count))
    between = np.triu(confusion + confusion.T, 1)
    chosen: list[int] = []
    for flat in np.argsort(-between, axis=None, kind="stable")[: count * count]:
        pair = divmod(int(flat), count)
        if len(chosen) == 4 or not between[pair]:
            break
        if not set(pair) & set(chosen):
            chosen += pair
    recall = confusion.diagonal() / np.maximum(confusion.sum(axis=1), 1)
    best = [int(c) for c in np.argsort(-recall, kind="stable") if c not in chosen]
    return [*chosen, *best[: COLOURED - len(chosen)]]
