def run(
    steps: bytes,
    terms: bytes,
    factors: bytes,
    inputs: int,
    buffers: int,
    strip: int,
    check: bool,
    rows: list[object] | tuple[object, list[int]],
    out: object,
) -> bool: ...
def add_inner_products(rows: list[object] | tuple[object, list[int]], centre: int, sums: object) -> None: ...
