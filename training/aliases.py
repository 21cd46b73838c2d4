"""The names that options have elsewhere (timm, PyTorch, Keras, Hugging Face, Lightning), for the messages about names
that do not exist here. None of them is accepted: one option has one name."""

from collections.abc import Mapping

# An option, or a remark that begins with one, and its names elsewhere. Case, hyphens and underscores do not matter.
ELSEWHERE: Mapping[str, str] = {
    "optim.learning_rate": "lr max_lr base_lr init_lr peak_lr blr step_size alpha",
    "optim.name": "opt optimizer optim algo",
    "optim.schedule": "sched scheduler lr_scheduler lr_scheduler_type lr_schedule lr_policy decay_type",
    "optim.warmup, a share of all steps from 0 to 1": "warmup_epochs warmup_steps warmup_iters num_warmup_steps "
    "warmup_ratio warmup_proportion warmup_t pct_start lr_warmup_epochs",
    "optim.final_learning_rate": "min_lr lr_min eta_min end_lr final_lr lr_end",
    "optim.beta1": "b1 adam_beta1",
    "optim.beta2": "b2 adam_beta2",
    "optim.beta1 and optim.beta2": "betas opt_betas adam_betas",
    "optim.eps": "epsilon opt_eps adam_eps adam_epsilon",
    "optim.weight_decay": "wd decay l2 weight_decay_rate l2_reg",
    "optim.max_grad_norm": "clip_grad grad_clip clip clipnorm clip_norm global_clipnorm max_norm clip_grad_norm "
    "gradient_clip_val gradient_clip_norm gradient_clipping clip_gradients grad_norm_clip",
    "optim.ema": "model_ema ema_decay model_ema_decay use_ema ema_momentum ema_rate",
    "optim.newton_schulz_steps": "ns_steps",
    "loss.label_smoothing": "smoothing label_smooth smooth",
    "model.image_size": "img_size input_size resolution img size crop_size imgsz image_shape input_shape",
    "model.patch_size": "patch",
    "model.channels": "in_chans in_channels num_channels input_channels",
    "model.d_model": "embed_dim embedding_dim hidden_size hidden_dim dim width n_embd emb_dim model_dim projection_dim",
    "model.heads": "num_heads n_heads n_head nhead num_attention_heads attention_heads",
    "model.layers": "depth num_layers n_layers n_layer num_hidden_layers transformer_layers encoder_layers blocks "
    "num_blocks",
    "model.mlp_dim": "intermediate_size dim_feedforward ffn_dim mlp_hidden_dim hidden_features d_ff ffn_hidden",
    "model.mlp_dim, the width itself and not a ratio": "mlp_ratio ffn_ratio mlp_expansion",
    "model.num_classes": "n_classes nb_classes num_labels classes_count",
    "model.norm": "norm_first pre_norm prenorm post_norm block_norm use_norm use_layer_norm layer_norm",
    "model.residual": "skip skip_connection skip_connections residual_connection residual_connections use_residual",
    "model.pooling": "global_pool pool classifier",
    "model.class_token": "cls_token use_cls_token",
    "model.positions": "pos_embed pos_embedding position_embedding posemb use_abs_pos_emb",
    "model.gelu": "act activation act_layer hidden_act",
    "model.eps": "layer_norm_eps norm_eps ln_eps",
    "model.dropout": "drop drop_rate dropout_rate p_drop hidden_dropout_prob proj_drop",
    "model.embedding_dropout": "emb_dropout embed_dropout pos_drop_rate embd_pdrop",
    "model.patch_dropout": "patch_drop_rate patch_drop token_dropout",
    "model.attention_dropout": "attn_drop attn_drop_rate attn_dropout attention_probs_dropout_prob attn_pdrop",
    "model.drop_path": "drop_path_rate stochastic_depth stochastic_depth_prob dpr",
    "model.layer_scale": "init_values ls_init layer_scale_init_value",
    "model.dtype=bfloat16": "amp use_fp16 use_bf16 native_amp mixed fp16 bf16 half "
    "mixed_precision use_amp autocast float16 bfloat16",
    "model.dtype": "precision torch_dtype dtype_str param_dtype compute_dtype amp_dtype",
    "data.root": "data_dir data_path dataset_path dataset_dir datadir data_root datapath train_dir dataset_root",
    "data.name": "dataset data_set dataset_name",
    "data.workers": "num_workers workers_per_gpu num_data_workers num_threads threads j nworkers "
    "dataloader_num_workers n_workers",
    "data.cache": "cache_dir",
    "data.holdout": "val_split validation_split val_fraction valid_size holdout_fraction val_size",
    "data.sampling": "sampler shuffle sampling_strategy train_sampler",
    "data.sampling=balanced": "weighted_sampler weighted_random_sampler use_weighted_sampler balanced_sampler "
    "balanced_sampling balanced_batch_sampler class_balanced class_balanced_sampling balance_classes class_balance "
    "balanced balance class_weight class_weights oversample oversampling imbalanced_sampler",
    "augment.flip": "hflip horizontal_flip random_flip fliplr hflip_prob",
    "augment.crop_padding": "random_crop crop padding",
    "augment.resized_crop": "scale random_resized_crop",
    "augment.color_jitter": "jitter cj",
    "augment.policy": "aa auto_augment autoaugment randaugment rand_augment trivial_augment ra_policy",
    "augment.erasing": "reprob random_erase random_erasing re_prob erasing_prob",
    "augment.mixup": "mixup_alpha",
    "augment.cutmix": "cutmix_alpha",
    "augment.mix_probability": "mixup_prob cutmix_prob",
    "train.epochs": "epoch num_epochs n_epochs max_epochs num_train_epochs nb_epoch ep",
    "train.steps": "max_steps num_steps n_steps iterations iters max_iters num_iterations total_steps train_steps",
    "train.minutes": "max_time time minutes_budget",
    "train.batch_size": "b bs batch train_batch_size per_device_train_batch_size batch_size_per_gpu",
    "train.eval_batch_size": "val_batch_size test_batch_size validation_batch_size vb per_device_eval_batch_size",
    "train.seed": "random_seed manual_seed rng_seed random_state",
    "train.evaluate_every": "val_interval eval_every eval_interval eval_freq validate_every check_val_every_n_epoch "
    "val_every validation_interval test_every evaluation_interval",
    "train.checkpoint_every": "save_every save_freq save_steps checkpoint_interval checkpoint_freq ckpt_every "
    "save_interval",
    "train.start_from": "pretrained init_from finetune load_weights pretrained_weights",
    "train.freeze": "freeze_backbone linear_probe freeze_encoder frozen head_only linear_probing",
    "train.accumulate": "grad_accum grad_accum_steps gradient_accumulation_steps accum_iter accumulate_grad_batches "
    "accum_steps accumulation_steps update_freq",
    "train.log_every": "log_interval log_freq log_steps print_freq log_every_n_steps logging_steps print_every "
    "log_every_steps log_period summary_every save_summary_steps report_interval",
    "train.devices": "num_devices n_devices gpus ngpu num_gpus n_gpu n_gpus multi_gpu nproc nproc_per_node",
    "train.distributed": "ddp dist num_nodes nnodes world_size local_rank rank dist_url master_addr init_method",
    "train.share_optimizer": "zero fsdp zero_stage shard_optimizer",
    "--device cpu or --device gpu": "device accelerator backend platform jax_platforms",
    "--device gpu": "gpu cuda gpu_id gpu_ids use_gpu use_cuda",
    "--device cpu": "cpu no_cuda no_gpu use_cpu",
    "--run DIR": "run run_dir run_name exp_name experiment_name output "
    "output_dir out out_dir save_dir log_dir logdir work_dir exp_dir experiment savedir workdir",
    "--resume DIR": "resume resume_path auto_resume restore restore_from resume_training "
    "checkpoint_path load resume_from resume_from_checkpoint ckpt ckpt_path continue",
    "--config FILE": "config config_file config_path cfg cfg_file",
    "--sweep": "sweep grid grid_search",
    "--vary": "vary ablation ablate",
    "--summary": "summary model_summary print_model",
    "--brief": "brief quiet",
    "--debug": "debug",
}
# What needs no option here, or is not to be had, and the names of such options elsewhere.
WITHOUT: Mapping[str, str] = {
    "training is always compiled": "compile torch_compile jit use_jit use_compile",
    "every number of devices has the same strategy, see train.devices": "strategy",
}


def squashed(name: str) -> str:
    """A name without what differs between styles: `batch-size`, `batchSize` and `batch_size` are alike."""
    return name.lower().replace("_", "").replace("-", "")


TARGETS: Mapping[str, tuple[str, ...]] = {
    squashed(name): tuple(option for option, others in ELSEWHERE.items() if name in others.split())
    for names in ELSEWHERE.values()
    for name in names.split()
}


REASONS: Mapping[str, str] = {squashed(name): reason for reason, names in WITHOUT.items() for name in names.split()}


def option_in(target: str) -> str:
    """The option that a key of ELSEWHERE begins with."""
    return target.split()[0].rstrip(",").partition("=")[0]


def options_called(name: str, options: Mapping[str, object]) -> list[str]:
    """The options that `name`, which is none of them, may stand for: those with this key, else those with this name
    elsewhere. A section before the name is ignored, as it is part of the mistake."""
    key = squashed(_key(name))
    same_key = [option for option in options if squashed(option.partition(".")[2]) == key]
    return same_key or list(TARGETS.get(key, ()))


def why_without(name: str) -> str | None:
    """Why there is no option for what `name` sets elsewhere; None: not known."""
    return REASONS.get(squashed(_key(name)))


def _key(name: str) -> str:
    return "".join(name.split()).strip("\"'-.").rpartition(".")[2]
