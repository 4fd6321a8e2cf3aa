"""What may stand in a condition: nothing that makes much out of little, because a condition may come from a file.

`repeat('x', 1000000000)` or a hundred nested `hex(...)` would fill the memory, and DuckDB cannot be interrupted within
one call. So functions are named here: none returns more than a small multiple of what it is given, and lambdas only
choose.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from clipmill.curate.errors import UserError

Node = dict[str, Any]
_WORDS = """
    + - * / // % ** ^ & | ~ << >> || @ ! ~~ !~~ ~~* !~~* ~~~ like_escape not_like_escape ilike_escape
    not_ilike_escape ^@ && <-> <=> <@ @>
    abs ceil ceiling floor round round_even roundbankers even trunc sign signbit sqrt cbrt exp ln log log2 log10 pow
    power mod add subtract multiply divide greatest least isnan isinf isfinite degrees radians sin cos tan asin acos
    atan atan2 pi random hash xor gcd lcm bit_count if ifnull nullif coalesce typeof
    lower upper lcase ucase length len strlen char_length character_length trim ltrim rtrim left right substr
    substring contains starts_with ends_with prefix suffix position strpos instr reverse strip_accents concat
    concat_ws regexp_matches regexp_full_match regexp_extract string_split str_split split md5 sha256 unicode ascii
    list_value list_contains array_contains list_has array_has list_has_any array_has_any list_has_all array_has_all
    list_position array_position list_indexof array_length list_extract list_element array_extract element_at
    list_slice array_slice list_filter array_filter filter list_distinct array_distinct list_unique array_unique
    list_sort array_sort list_reverse_sort array_reverse_sort list_concat list_cat array_concat array_cat
    list_intersect array_intersect list_sum list_min list_max list_avg list_count list_first list_last list_median
    list_any_value list_bool_and list_bool_or list_product list_stddev_pop list_var_pop
    list_cosine_similarity list_cosine_distance list_distance list_inner_product list_dot_product
    array_cosine_similarity array_cosine_distance array_distance array_inner_product array_dot_product
    map map_keys map_values map_extract map_extract_value map_contains cardinality row struct_pack struct_extract
    date_part datepart year month day hour minute second week weekday dayofweek quarter
    date_trunc datetrunc date_diff
    datediff now today current_date get_current_timestamp
"""
_NAMES = frozenset(_WORDS.split())
# Text grows by the quotes of what is cast to it, bits by eight.
_MOST_CASTS = 8
_NO_CAST = frozenset({"BIT", "BLOB"})


def check_functions(nodes: Sequence[Node], known: Callable[[set[str]], set[str]]) -> None:
    """nodes: of a condition as DuckDB parses it. known: of names those that DuckDB has as functions of one row; what
    else there is it refuses itself. Raises UserError for what is not on the list.
    """
    names = {str(node["function_name"]).lower() for node in nodes if node.get("class") == "FUNCTION"} - _NAMES
    for name in sorted(known(names)) if names else ():
        raise UserError(f"the function {name} is not for conditions, which compare what the columns hold")
    if any(sum(inner.get("class") == "LAMBDA" for inner in below(node)) > 1 for node in _of(nodes, "LAMBDA")):
        raise UserError("it holds a lambda inside a lambda")
    casts = _of(nodes, "CAST")
    types = {str(inner.get("type_name")).upper() for node in casts for inner in below(node.get("type_expr"))}
    if len(casts) > _MOST_CASTS or types & _NO_CAST:
        raise UserError(f"it casts to {' or '.join(sorted(_NO_CAST))}, or more than {_MOST_CASTS} times")


def below(tree: Any) -> Iterator[Node]:
    """Every node of a tree, itself first."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _of(nodes: Sequence[Node], kind: str) -> list[Node]:
    return [node for node in nodes if node.get("class") == kind]
