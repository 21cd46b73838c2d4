"""The masked autoencoder (He et al. 2021, arXiv:2111.06377): most patches are hidden, and predicted from the rest.

Forward    images (B, H, W, C)
           -> embedding        (B, N, D)    the ViT's patches, class token and positions; N = first + n
           -> hide             (B, N', D)   KeepTokens: the class token and a random few of the n patches
           -> encoder          (B, N', D)   the ViT's blocks and norm, on these tokens alone
           -> decoder/embed    (B, N', E)   to the width E of the decoder
           -> decoder/restore  (B, N, E)    RestoreTokens: each in its place, the mask token where a patch is hidden
           -> + positions      (B, N, E)    a table of 2-D sinusoids (POS.6): constants
           -> decoder          (B, N, P)    a few narrow blocks, a norm, and a head onto the P values of a patch
           -> pixels           (B, n, P)    without the class token
Backward   the same list from the bottom up                                                               (MAE.1)

Labels are not used. With three quarters of the patches hidden, the encoder, which is the expensive part, costs a
quarter. After training the decoder is thrown away: the parameters of the encoder have the names that they have in the
ViT, and so are where it expects them.

No layer draws the hidden patches. They are an argument, `kept`: the same for forward and backward, for a check, and
for two evaluations that are to be compared. `draw` draws them.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from model.combinators import Sequential
from model.draws import split_key
from model.encoder import Encoder, EncoderBlock
from model.layer import Params, require_sizes
from model.layers.dense import Dense
from model.layers.feed_forward import FeedForward
from model.layers.keep_tokens import KeepTokens, KeepTokensCache
from model.layers.layer_norm import LayerNorm
from model.layers.multi_head_attention import MultiHeadAttention
from model.layers.patch_embedding import Patchify
from model.layers.position_embedding import PositionEmbedding
from model.layers.restore_tokens import RestoreTokens, missing_tokens
from model.precision import in_half_precision, mixed_precision
from model.vit import ViT

EMBEDDING = ("patch_embedding", "position_embedding", "embedding_dropout")
ENCODER = ("encoder", "norm")
"""The layers of a ViT below the place where patches are hidden, and those above it that stay when its head goes."""


class DecoderCache(NamedTuple):
    embed: Any  # of a dense layer: its input (B, N', D)
    restore: Any  # kept (B, N')
    decoder: Any  # of its blocks, norm and head


class MAECache(NamedTuple):
    embedding: Any  # of patches, positions and dropout
    hide: KeepTokensCache  # kept (B, N') and tokens (B, N, D), for their shape
    encoder: Any  # of its blocks and norm, on the visible tokens
    decoder: DecoderCache


@dataclass(frozen=True)
class MAE:
    """A masked autoencoder around the encoder of `vit`.

    `params = mae.init(key)`; `kept = mae.draw(key, B)`; `pixels, cache = mae.forward(params, images, kept, key=None)`;
    `dimages, grads = mae.backward(params, cache, dpixels)`. A `key` makes the dropout and the drop path of the ViT act.
    Of `vit` its head and its pooling are not used, except by `features`.

    Attributes:
        mask: share of the patches that are hidden.
        decoder_dim, decoder_heads, decoder_layers, decoder_mlp_dim: width E, heads, blocks and hidden width of the
            decoder, of which gelu, eps, qkv_bias, pad_to_multiple_of and dtype are those of the ViT. It is pre-norm and
            drops nothing.

    Raises:
        ValueError: sizes that do not fit, a share that hides none or all, a ViT with patch dropout, with shifted
            patches or without blocks.
    """

    vit: ViT
    mask: float = 0.75
    decoder_dim: int = 128
    decoder_heads: int = 4
    decoder_layers: int = 2
    decoder_mlp_dim: int = 512

    def __post_init__(self) -> None:
        require_sizes(self, "decoder_dim", "decoder_layers", "decoder_mlp_dim")
        if not 0 < self.mask < 1:
            raise ValueError(f"mask must be above 0 and below 1, got {self.mask}")
        if self.vit.patch_dropout:
            raise ValueError(
                f"mask={self.mask} hides patches already: leave out patch_dropout={self.vit.patch_dropout}"
            )
        if not self.vit.layers:
            raise ValueError("layers=0 leaves no encoder to train: nothing would look at another patch")
        patches, kept = self.tokens - self.hide.first, self.hide.count(self.tokens)
        if kept == self.tokens:
            raise ValueError(f"mask={self.mask} hides none of {patches} patches: choose a smaller patch_size or more")
        if self.vit.shifted_patches:
            raise ValueError("shifted_patches shows each patch a part of its neighbours, hidden ones too: leave it out")
        if self.vit.masked_diagonal and kept < 2:
            raise ValueError(f"masked_diagonal needs 2 tokens or more, and mask={self.mask} leaves {kept}: hide fewer")
        _ = self.decoder, self.positions  # they check their own sizes

    @property
    def tokens(self) -> int:
        """N, the class token included."""
        return self.vit.position_embedding.tokens

    @property
    def hide(self) -> KeepTokens:
        return KeepTokens(self.mask, first=int(self.vit.class_token))

    @property
    def embedding(self) -> Sequential:
        return self._of_vit(EMBEDDING)

    @property
    def encoder(self) -> Sequential:
        return self._of_vit(ENCODER)

    @property
    def embed(self) -> Any:
        return self._precise(Dense(self.vit.d_model, self.decoder_dim))

    @property
    def restore(self) -> Any:
        return self._precise(RestoreTokens(self.tokens, self.decoder_dim))

    @property
    def decoder(self) -> Sequential:
        vit, E = self.vit, self.decoder_dim
        norm = LayerNorm(E, vit.eps)
        attention = MultiHeadAttention(
            E, self.decoder_heads, qkv_bias=vit.qkv_bias, pad_to_multiple_of=vit.pad_to_multiple_of
        )
        block = EncoderBlock(attention, FeedForward(E, self.decoder_mlp_dim, vit.gelu), norm)
        head = Dense(E, self.patchify.patch_values)
        layers = Sequential((("encoder", Encoder(block, self.decoder_layers)), ("norm", norm), ("head", head)))
        return mixed_precision(layers) if vit.dtype == "bfloat16" else layers

    @property
    def patchify(self) -> Patchify:
        return self.vit.patch_embedding.patchify

    @property
    def positions(self) -> jax.Array:
        """The table that the decoder adds, (N, E); zeros for a class token."""
        grid, first = self.patchify.grid, self.vit.class_token
        return jnp.asarray(PositionEmbedding(grid, self.decoder_dim, first, "sinusoidal_2d").sinusoids())

    def init(self, key: jax.Array) -> Params:
        embedding, encoder, embed, restore, decoder = jax.random.split(key, 5)
        inner = {"embed": self.embed.init(embed), "restore": self.restore.init(restore), **self.decoder.init(decoder)}
        return {**self.embedding.init(embedding), **self.encoder.init(encoder), "decoder": inner}

    def draw(self, key: jax.Array, images: int) -> jax.Array:
        """The positions of the tokens that the encoder sees, (B, N'), of so many images.

        key: a PRNG key, or (B,), one for each image.
        """
        return self.hide.draw(key, images, self.tokens)

    def hidden(self, kept: jax.Array) -> jax.Array:
        """Which patches are hidden, (B, n) booleans, where `kept` are the tokens that are not."""
        return missing_tokens(kept, self.tokens)[:, self.hide.first :]

    def patches(self, images: jax.Array) -> jax.Array:
        """What is predicted: the pixels of each patch, (B, n, P)."""
        patches, _ = self.patchify.forward({}, images)
        return patches

    def forward(
        self, params: Params, images: jax.Array, kept: jax.Array, key: jax.Array | None = None
    ) -> tuple[jax.Array, MAECache]:
        keys = [None, None] if key is None else split_key(key, 2)
        tokens, embedding = self.embedding.forward(params, images, keys[0])  # (B, N, D)
        visible, hide = self.hide.gather(tokens, kept)  # (B, N', D)
        latent, encoder = self.encoder.forward(params, visible, keys[1])  # (B, N', D)
        pixels, decoder = self.decode(params["decoder"], latent, kept)  # (B, n, P)
        return pixels, MAECache(embedding, hide, encoder, decoder)

    def decode(self, params: Params, latent: jax.Array, kept: jax.Array) -> tuple[jax.Array, DecoderCache]:
        """The pixels of each patch, (B, n, P), from what the encoder makes of the visible tokens, (B, N', D)."""
        narrow, embed = self.embed.forward(params["embed"], latent)  # (B, N', E)
        restored, restore = self.restore.forward(params["restore"], narrow, kept=kept)  # (B, N, E)
        y, decoder = self.decoder.forward(params, restored + self.positions.astype(restored.dtype))  # (B, N, P)
        return y[:, self.hide.first :], DecoderCache(embed, restore, decoder)

    def backward(self, params: Params, cache: MAECache, dpixels: jax.Array) -> tuple[jax.Array, Params]:
        dlatent, ddecoder = self.decode_backward(params["decoder"], cache.decoder, dpixels)  # MAE.1, the next lines too
        dvisible, dencoder = self.encoder.backward(params, cache.encoder, dlatent)
        dtokens, _ = self.hide.backward({}, cache.hide, dvisible)
        dimages, dembedding = self.embedding.backward(params, cache.embedding, dtokens)
        return dimages, {**dembedding, **dencoder, "decoder": ddecoder}

    def decode_backward(self, params: Params, cache: DecoderCache, dpixels: jax.Array) -> tuple[jax.Array, Params]:
        """The gradients of the encoder's output, (B, N', D), and of the decoder's parameters."""
        B, _, P = dpixels.shape
        of_class_token = jnp.zeros((B, self.hide.first, P), dpixels.dtype)
        dy = jnp.concatenate([of_class_token, dpixels], axis=1)  # what it predicts is no patch
        # Adding the positions, which are constants, passes the gradient on unchanged.
        drestored, ddecoder = self.decoder.backward(params, cache.decoder, dy)
        dnarrow, drestore = self.restore.backward(params["restore"], cache.restore, drestored)
        dlatent, dembed = self.embed.backward(params["embed"], cache.embed, dnarrow)
        return dlatent, {"embed": dembed, "restore": drestore, **ddecoder}

    def features(self, params: Params, images: jax.Array) -> jax.Array:
        """The pooled tokens (B, D) of whole images, as the head of the ViT would get them."""
        tokens, _ = self.embedding.forward(params, images)
        tokens, _ = self.encoder.forward(params, tokens)
        pooled, _ = self.vit.pool.forward({}, tokens)
        return pooled.astype(images.dtype)

    def _of_vit(self, names: tuple[str, ...]) -> Sequential:
        """Those of these layers that the ViT has; its last block computes every token."""
        layers = self.vit.compose(every_token=True).layers
        return Sequential(tuple((name, layer) for name, layer in layers if name in names))

    def _precise(self, layer: Any) -> Any:
        """The layer in the precision of the ViT."""
        return in_half_precision(layer) if self.vit.dtype == "bfloat16" else layer
