import time

import numpy as np
import pandas as pd
import pytest

from cmvae.preprocessing.identifiers import (
    constant,
    identifying,
    named_as_ids,
    named_as_years,
    words_of,
)

RNG = np.random.default_rng(0)
N = 120


def reason(values, name="x", **arguments):
    return identifying(pd.DataFrame({name: values}), **arguments).get(name)


def texts(form, numbers):
    return [form.format(int(number)) for number in numbers]


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("x", range(100, 120), "counts up by one from row to row"),
        ("x", np.arange(20.0), "counts up by one from row to row"),
        ("x", pd.array([*range(30), None], dtype="Int64"), "counts up by one from row to row"),
        ("x", RNG.permutation(N) + 7, "numbers the rows from 7 to 126"),
        ("x", RNG.choice(9 * 10**8, N, replace=False) + 10**8, "120 different numbers in 120 rows"),
        ("customerId", RNG.choice(10**5, N, replace=False), "120 different numbers in 120 rows"),
        ("order_no", RNG.integers(10**3, 10**5, N), "different numbers in 120 rows"),
        ("x", [f"name {i % 11}" for i in range(20)], "holds 11 different texts in 20 rows"),
        ("mail", texts("m{}@a.org", range(N)), "holds 120 different texts in 120 rows"),
        ("x", texts("{:05d}", RNG.choice(10**4, N, False)), "120 different numbers as texts in"),
        ("zip", RNG.integers(501, 99951, N), "holds zip codes"),
        ("Postal Code", texts("{:04d} AB", RNG.integers(0, 9999, 9)), "holds zip codes, such as"),
        ("plz", texts("{:05d}", RNG.integers(1000, 99999, 9)), "holds zip codes, such as"),
        ("home", ["SW1A 1AA", "M1 1AE", "EC1A 1BB"], "holds zip codes, such as SW1A 1AA"),
        ("home", ["12345-6789", "00501-0001"] * 3, "holds zip codes, such as 12345-6789"),
        ("home", ["K1A 0B1", "H0H 0H0"], "holds zip codes"),
        ("phone", RNG.integers(10**9, 10**10, N), "holds phone numbers"),
        ("tel", texts("0{}", RNG.integers(10**7, 10**9, 9)), "holds phone numbers"),
        ("x", texts("+49 170 {}", RNG.integers(10**6, 10**7, N)), "holds phone numbers, such as +"),
        ("x", texts("(555) 123-{:04d}", range(N)), "holds phone numbers, such as (555) 123-0000"),
        ("x", pd.date_range("2020", periods=5), "holds dates, such as 2020-01-01"),
        ("x", list(pd.date_range("2020", periods=5).date), "holds dates, such as 2020-01-01"),
        ("x", ["2024-01-05", "2023-12-31"] * 9, "holds dates, such as 2024-01-05"),
        ("x", ["2024-01-05 10:00:01", "2023-12-31T08:00"], "holds dates, such as 2024-01-05 10"),
        ("x", ["5.1.2024", "31.12.2023"], "holds dates, such as 5.1.2024"),
        ("x", ["01/05/24", "12/31/23"], "holds dates, such as 01/05/24"),
        ("x", ["Jan 5, 2024", "Dec 31, 2023"], "holds dates, such as Jan 5, 2024"),
        ("x", ["5 March 2024", "31-Dec-2023"], "holds dates, such as 5 March 2024"),
        ("x", [20240105, 20231231, 19990401], "holds dates, such as 20240105"),
    ],
)
def test_columns_that_measure_nothing_are_told(name, values, said):
    assert said in reason(values, name)
    assert reason(values, name, named=[name]) is None


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("x", range(19)),
        ("year", range(1990, 2020)),
        ("x", RNG.normal(size=N)),
        ("x", np.exp(RNG.normal(10.5, 0.8, N)).round()),
        ("x", RNG.choice(10**5, N, replace=False)),
        ("x", RNG.permutation(N) * 2),
        ("ids", RNG.integers(1, 6, N)),
        ("number_of_visits", np.arange(N) * 3 % 1000),
        ("zip", RNG.normal(size=N)),
        ("phone", RNG.integers(0, 5, N)),
        ("phone", ["Nokia", "Apple", "Pixel 7"] * 9),
        ("x", [20241305, 20231231, 19990401]),
        ("x", [f"name {i % 10}" for i in range(20)]),
        ("x", ["1-2", "3-4", "12-15"] * 9),
        ("x", ["red", "12.5.2024"] * 9),
        ("x", pd.Categorical(texts("{}", range(N)))),
        ("x", [True, False] * 20),
        ("x", ["1.5", "2", "?"] * 9),
        ("x", texts("{},5", range(N))),
        ("x", texts("$ {}.25", range(N))),
        ("x", [[1], [2]] * 15),
        ("x", [np.nan] * 50),
        ("x", [None] * 50),
        ("x", np.append(np.arange(30.0), np.inf)),
    ],
)
def test_measurements_and_categories_stay(name, values):
    assert reason(list(values) if isinstance(values, range) else values, name) is None


def test_names_are_taken_apart():
    assert words_of("customerID_2 no.") == ["customer", "id", "no"]
    named = [
        "id",
        "user_id",
        "UserId",
        "userid",
        "patient no",
        "GUID",
        "account-number",
        "order_ref",
    ]
    assert [name for name in named if not named_as_ids(name)] == []
    for other in ("paid", "humid", "number", "number of rooms", "acid_level", "zip", 3, "", "code"):
        assert not named_as_ids(other)
    assert named_as_years("Year of birth")
    assert named_as_years("builtYear")
    assert not named_as_years("yearning")


def test_constants_are_told_with_their_value():
    frame = pd.DataFrame(
        {
            "a": 3.0,
            "b": "DE",
            "c": [1, 2, 1],
            "d": [None, 5.0, 5.0],
            "e": [None, None, 5.0],
            "f": [[1], [1], [1]],
            "g": True,
            "h": np.nan,
        }
    )
    found = constant(frame)
    assert list(found) == ["a", "b", "d", "g"]
    assert found["b"] == "is the same in all rows: DE"
    assert list(constant(frame, ["b", "g"])) == ["a", "d"]
    assert not constant(frame.iloc[:1])


def test_thousands_of_columns_take_seconds():
    frame = pd.DataFrame(RNG.poisson(3, (200, 20_000))).add_prefix("g")
    began = time.process_time()
    assert identifying(frame) == {}
    assert constant(frame) == {}
    assert time.process_time() - began < 60
