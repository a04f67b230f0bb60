import datetime

import numpy as np
import pandas as pd
import pytest

from cmvae.files.modality import ModalityFile
from cmvae.preprocessing import Preprocessing
from cmvae.preprocessing.dates import DATES, STORED, YEAR, find_form

DAYS = pd.Series(pd.to_datetime(["2019-12-31", "2020-03-13", "2023-07-04"]))


def learned(cells, kind="date"):
    return DATES[kind].learn("x", pd.Series(cells), "m")


@pytest.mark.parametrize(
    "form",
    [
        *("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y%m%d", "%d %b %Y", "%B %d, %Y"),
        *("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%SZ", "%m/%d/%y", "%d-%b-%y", "%d.%m.%y"),
    ],
)
def test_dates_become_years_since_the_first(form):
    column = learned(DAYS.dt.strftime(form))
    years = (DAYS - DAYS[0]).dt.days.to_numpy() / YEAR
    found = column.encode(DAYS.dt.strftime(form), "m") * column.spread + column.center
    np.testing.assert_allclose(found[:, 0], years, atol=1e-12)
    assert pd.Series(column.decode(column.encode(DAYS.dt.strftime(form), "m"), True)).equals(
        DAYS.astype("datetime64[s]")
    )


@pytest.mark.parametrize(
    "cells",
    [
        DAYS,
        DAYS.dt.tz_localize("UTC"),
        DAYS.dt.date,
        pd.Series([20191231, 20200313, 20230704]),
        pd.Series(DAYS.dt.strftime("%Y-%m-%d"), dtype="category"),
    ],
)
def test_stored_dates_are_the_same(cells):
    column, texts = learned(cells), learned(DAYS.dt.strftime("%Y-%m-%d"))
    assert column.replace(form="") == texts.replace(form="")
    np.testing.assert_array_equal(column.encode(cells, "m"), texts.encode(DAYS.astype(str), "m"))


def test_years_and_hours_count():
    np.testing.assert_allclose(learned([1990, 2000, 2010]).center, 10, atol=0.01)
    column = learned(["2020-01-01 12:00", "2020-01-02 18:00:00", "2020-01-03 6:00 PM"])
    assert column.first == 18262.5
    zone = learned(["2020-01-01T02:00:00+02:00", "2020-01-03T00:00:00Z"])
    assert (zone.first, zone.center) == (18262.0, 1 / YEAR)


@pytest.mark.parametrize(
    ("cells", "first", "second"),
    [
        (["01/02/2020", "03/04/2021"], "2020-02-01", "2020-01-02"),
        (["5-6-2020"], "2020-06-05", "2020-05-06"),
        (["01/02/03", "04/05/06"], "2003-02-01", "2001-02-03"),
    ],
)
def test_days_and_months_that_may_be_each_other_are_refused(cells, first, second):
    with pytest.raises(ValueError, match=rf"'m': column 'x': the date .* may be {first} or") as e:
        learned(cells)
    assert second in str(e.value)


def test_one_day_above_the_twelfth_tells_and_is_remembered():
    column = learned(["01/02/2020", "13/02/2020"])
    assert column.form == "%d/%m/%Y"
    later = column.encode(pd.Series(["03/04/2020"]), "m") * column.spread + column.center
    assert later.item() * YEAR + column.first == pytest.approx(
        (datetime.date(2020, 4, 3) - datetime.date(1970, 1, 1)).days
    )
    message = r"holds \['04/23/2020'\], .*: 31 January 2024 is 31/01/2024$"
    with pytest.raises(ValueError, match=message):
        column.encode(pd.Series(["01/01/2020", "04/23/2020"]), "m")
    assert find_form(pd.Series(["03/03/2020", "04/04/2020"]), "here") == "%d/%m/%Y"


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["soon", "later"], r"holds \['soon', 'later'\], which are no dates"),
        (["2020-01-01", "1/2/2020"], r"\['1/2/2020'\] beside '2020-01-01'.*not written in one way"),
        (["2020-02-30"], "which are no dates"),
        ([43831, 43832], r"holds \[43831, 43832\]: numbers are dates as years"),
        ([True, False], "which are no dates"),
    ],
)
def test_what_is_no_date_is_refused(cells, message):
    with pytest.raises(ValueError, match=message):
        learned(cells)


def test_the_season_goes_round_the_year():
    column = learned(["2020-01-01", "2020-07-02", "2021-01-01", "2020-04-01 12:00"], "date+season")
    years, sine, cosine = column.encode(
        pd.Series(["2020-01-01", "2020-07-01", "2021-12-31", "2020-04-01"]), "m"
    ).T
    np.testing.assert_allclose(sine**2 + cosine**2, 1)
    np.testing.assert_allclose(cosine, [1, np.cos(2 * np.pi * 182 / 366), 1, 0], atol=0.02)
    assert sine[3] > 0.99
    assert years[2] > years[1] > years[0]


@pytest.mark.parametrize(("kind", "width"), [("date", 1), ("date+season", 3)])
def test_a_table_with_dates_comes_back(kind, width):
    frame = pd.DataFrame(
        {"x": DAYS.dt.strftime("%d.%m.%Y"), "n": [1.5, 2.5, 4.0], "g": list("aba")}
    )
    learn = Preprocessing.learn({"m": frame}, {"m": ModalityFile(kinds={"x": kind})})
    codec = Preprocessing.from_json(learn.to_json()).codecs["m"]
    assert len(codec.names) == 1 + width + 2
    assert codec.likelihood()[1]["columns"][0][:2] == ["normal", 1 + width]
    assert codec.texts == ("x", "g")
    values, _ = codec.encode(frame, "m")
    back = codec.decode(values)
    assert (back["x"].to_numpy() == DAYS.astype("datetime64[s]").to_numpy()).all()
    np.testing.assert_allclose(back["n"], frame["n"], atol=1e-6)
    np.testing.assert_allclose(
        codec.readable(values)[:, 1] * YEAR, (DAYS - DAYS[0]).dt.days, atol=1e-3
    )
    assert f"1 {kind}: x" in codec.describe()
    assert learned(DAYS).form == STORED
