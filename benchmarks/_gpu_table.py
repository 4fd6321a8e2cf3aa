"""The JSON of `gpu.py` as Markdown."""

NONE_YET = (
    "No GPU has run this yet: `python benchmarks/gpu.py` on a machine that has one writes its results, from which this"
    " table is made."
)


def table(results: dict | None) -> str:
    """results: what `gpu.py` wrote, None where nothing has been measured. A run on a CPU says so and is no result."""
    if results is None:
        return NONE_YET
    parts = results["parts"]
    blocks = [head(results), *(make(parts[name]) for name, make in TABLES.items() if name in parts)]
    return "\n\n".join(filter(None, blocks))


def head(results: dict) -> str:
    machine = results.get("machine") or {}
    if machine.get("device") != "cuda":
        return f"On a CPU ({machine.get('threads', '?')} threads), size {results['size']}: that it runs, and no more."
    where = f"{machine['gpu']} ({machine['gpu_gib']:.0f} GiB), driver {machine['driver']}, torch {machine['torch']}"
    return f"{where}, CUDA {machine['cuda']}, {machine['date']}, size {results['size']}."


def _training(part: dict) -> str:
    peak = part["cases"].get("peak", {})
    lines = [_peak(peak), "", "| shape and variant | batch | ms | tokens/s | model TFLOP/s | MFU | peak, GiB |"]
    lines.append("|---|---|---|---|---|---|---|")
    lines += [_rate_row(name, case) for name, case in part["cases"].items() if "mfu" in case]
    return "\n".join([*lines, *_ratios(part), *_kernels(part), *_clocks(part), *_reasons(part)])


def _rate_row(name: str, case: dict) -> str:
    rates = f"{case['tokens_per_s']:,.0f} | {case['model_tflops']:.3g} | {100 * case['mfu']:.1f} %"
    return f"| {name} | {case['batch']} | {_ms(case)} | {rates} | {_gib(case)} |"


def _attention(part: dict) -> str:
    lines = ["| attention | flex, ms | dense, ms | flex is faster by | error | taken |", "|---|---|---|---|---|---|"]
    lines += [_attention_row(name, case) for name, case in part["cases"].items() if "models takes" in case]
    steps = [
        "",
        "| packed videos | batch | ms | tokens/s | model TFLOP/s | MFU | peak, GiB |",
        "|---|---|---|---|---|---|---|",
    ]
    steps += [_rate_row(name, case) for name, case in part["cases"].items() if "mfu" in case]
    return "\n".join([*lines, *steps, *_ratios(part), *_reasons(part)])


def _attention_row(name: str, case: dict) -> str:
    if "flex" not in case:
        return f"| {name} | does not run | {_ms(case['dense'])} | | | {case['models takes']} |"
    error = f"{case['errors']['flex']:.1g}{'' if case['within'] else ', too large'}"
    times = f"{_ms(case['flex'])} | {_ms(case['dense'])} | {case['flex / dense']:.2f}x"
    return f"| {name} | {times} | {error} | {case['models takes']} |"


def _parity(part: dict) -> str:
    kinds = ("loss", "gradient", "training", "samples")
    lines = [f"| against the CPU in float32 | {' | '.join(kinds)} | within bounds |", "|---" * (len(kinds) + 2) + "|"]
    for name, case in part["cases"].items():
        if name != "tolerances" and "float32" in case:
            for dtype, apart in case.items():
                if isinstance(apart, dict):
                    values = " | ".join(f"{apart[kind]:.1g}" for kind in kinds)
                    lines.append(f"| {name}, {dtype} | {values} | {'yes' if apart['within'] else 'NO'} |")
    return "\n".join([*lines, *_reasons(part)])


def _features(part: dict) -> str:
    lines = ["| network | per second | ms of a batch | batch | dtype | peak, GiB |", "|---|---|---|---|---|---|"]
    for name, case in part["cases"].items():
        if "per_s" in case:
            rate = f"{case['per_s']:,.1f} {case['unit']}"
            lines.append(
                f"| {name} | {rate} | {_ms(case)} | {case.get('batch', '')} | {case['dtype']} | {_gib(case)} |"
            )
    return "\n".join([*lines, *_reasons(part)])


def _experiment(part: dict) -> str:
    rows = {name: case for name, case in part["cases"].items() if "distance" in case}
    head = ("set", "windows", "steps", "Fréchet distance (mini)", "training windows", "change over time, of real")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, case in rows.items():
        known = f"{case['training_windows']:.1f}" if "training_windows" in case else ""
        counts = f"{case.get('windows', '')} | {case.get('steps', '')}"
        lines.append(f"| {name} | {counts} | {case['distance']:.1f} | {known} | {case['change']:.2f} |")
    return "\n".join([*(lines if rows else []), *_reasons(part)])


TABLES = {
    "parity": _parity,
    "training": _training,
    "attention": _attention,
    "features": _features,
    "experiment": _experiment,
}


def _peak(peak: dict) -> str:
    if not peak:
        return ""
    stated = f"{peak['stated_tflops']:.0f} ({peak['stated_by']})" if peak["stated_tflops"] else "not known by its name"
    return (
        f"bf16 peak, TFLOP/s: {stated}; measured by a product of matrices {peak['measured_tflops']:.3g}. MFU is of the"
        f" {peak['peak_is'].split()[0]} one."
    )


def _ratios(part: dict) -> list[str]:
    found = []
    for name, case in part["cases"].items():
        if name.endswith(": ratios") and case:
            found += [
                "",
                f"{name.removesuffix(': ratios')}: " + ", ".join(f"{k} {v:.2f}x" for k, v in case.items()) + ".",
            ]
    return found


def _kernels(part: dict) -> list[str]:
    """Where the time of a step goes, compiled and in the loop."""
    found = []
    for name, case in part["cases"].items():
        if "ms_by_kernel" in case:
            first = ", ".join(f"{kernel} {ms:.3g}" for kernel, ms in list(case["ms_by_kernel"].items())[:6])
            found += ["", f"{name}: {case['step_ms']:.3g} ms, kernels {case['kernels_ms']:.3g} ms; {first}."]
        if "noise_on_cpu_ms" in case:
            found += ["", f"{name}: {case['noise_on_cpu_ms']:.3g} ms of each step draw noise on the CPU."]
    return found


def _clocks(part: dict) -> list[str]:
    """As they were right after the last step."""
    after = part["cases"].get("clocks", {}).get("after")
    return (
        ["", "Clocks after it: " + ", ".join(f"{name} {value}" for name, value in after.items()) + "."] if after else []
    )


def _reasons(part: dict) -> list[str]:
    """What was not measured, and why."""
    told = [
        (name, key, case[key]) for name, case in part["cases"].items() for key in ("skipped", "failed") if key in case
    ]
    whole = [f"The part {part['status']}: {part['reason']}."] if "reason" in part else []
    found = [*whole, *(f"{name} {key}: {why}." for name, key, why in told)]
    return ["", *found] if found else []


def _ms(case: dict) -> str:
    return f"{case['ms']:.3g} ({case['ms_min']:.3g} to {case['ms_max']:.3g})"


def _gib(case: dict) -> str:
    return "" if case.get("peak_gib") is None else f"{case['peak_gib']:.1f}"
