"""Small networks of transformers' own classes with seeded random weights, saved with processors made here, as a hub's
folder holds them.
"""

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = [
    "a", "the", "man", "woman", "dog", "cat", "runs", "walks", "sits", "on", "in", "over", "sea", "street", "red",
    "blue", "camera",
    "moves", "left", "right", "while", "it", "rains", ".",
]  # fmt: skip
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>"]
CHAT = (
    "{% for m in messages %}USER: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %} ASSISTANT:"
)
SIDE_PX, PATCH_PX = 32, 8


def tokenizer():
    """Whole words of a small list; a start token before each text."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*SPECIAL, *WORDS])}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    named = {
        "pad_token": "<pad>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "extra_special_tokens": {"image_token": "<image>"},
    }
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, **named)


def write_blip2(folder: Path, seed: int = 0) -> Path:
    """BLIP-2 with an OPT that knows `WORDS`."""
    vocabulary = len(SPECIAL) + len(WORDS)
    small = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 48}
    text = small | {"ffn_dim": 48, "vocab_size": vocabulary, "word_embed_proj_dim": 32, "max_position_embeddings": 128}
    config = transformers.Blip2Config(
        vision_config=small | {"image_size": SIDE_PX, "patch_size": PATCH_PX},
        qformer_config=small | {"encoder_hidden_size": 32, "vocab_size": vocabulary},
        text_config=text | {"model_type": "opt", "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
        num_query_tokens=4,
        image_token_index=SPECIAL.index("<image>"),
    )
    network = _random(transformers.Blip2ForConditionalGeneration, config, seed)
    network.generation_config.update(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    with torch.no_grad():  # as trained queries would, these differ
        network.query_tokens.normal_(generator=torch.Generator().manual_seed(seed))
    size = {"height": SIDE_PX, "width": SIDE_PX}
    processor = transformers.Blip2Processor(transformers.BlipImageProcessor(size=size), tokenizer(), num_query_tokens=4)
    return _saved(folder, network, processor)


def write_llava(folder: Path, seed: int = 0) -> Path:
    """LLaVA, of the chat kind that takes any number of pictures."""
    small = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 48}
    vision = transformers.CLIPVisionConfig(**small, image_size=SIDE_PX, patch_size=PATCH_PX, projection_dim=32)
    text = transformers.LlamaConfig(
        **small,
        vocab_size=len(SPECIAL) + len(WORDS),
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=SPECIAL.index("<image>"), vision_feature_layer=-1
    )
    network = _random(transformers.LlavaForConditionalGeneration, config, seed)
    network.generation_config.update(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    size = {"height": SIDE_PX, "width": SIDE_PX}
    images = transformers.CLIPImageProcessor(size=size, crop_size=size)
    # the network leaves the class token out: "default"; the processor counts it in before
    processor = transformers.LlavaProcessor(
        images,
        tokenizer(),
        patch_size=PATCH_PX,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    )
    return _saved(folder, network, processor)


def _random(kind, config, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = kind(config)
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=0.4)  # so that other pictures give other words
    return network


def _saved(folder, network, processor):
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
