"""Names of clusters: every form that is taken, and every one that is refused."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from cmvae.runs.folder import read_record, read_run, save_run
from cmvae.runs.names import NAMES, cluster_names, find_clusters, read_names, write_names

HOSTILE = "</script><b>x</b>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0=young,1=old", {0: "young", 1: "old"}),
        (" 2 = very old , 0=young ", {0: "young", 2: "very old"}),
        ("1=a=b", {1: "a=b"}),
        ("0=names.csv", {0: "names.csv"}),
        ("0=0", {0: "0"}),
        (f"0={HOSTILE}", {0: HOSTILE}),
        ("0=cafe\u0301", {0: "caf\u00e9"}),
    ],
)
def test_names_are_read_where_they_stand(text, expected):
    assert cluster_names(text, 3) == expected


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_names_are_read_from_a_table(tmp_path, suffix):
    path = tmp_path / f"names{suffix}"
    table = pd.DataFrame({"cluster": [2, 0], "name": ["old, poor", "agent 007"]})
    if suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    assert cluster_names(str(path), 3) == {0: "agent 007", 2: "old, poor"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3=x", "names: no cluster '3'; there are 3 clusters, from 0 to 2"),
        ("-1=x", "names: no cluster '-1'"),
        ("young=0", "names: no cluster 'young'"),
        ("0=a,0=b", "names: cluster 0 is named twice"),
        ("0=a,1= A ", "names: clusters 0 and 1 have the same name 'A'"),
        ("0=cafe\u0301,1=caf\u00e9", "names: clusters 0 and 1 have the same name"),
        ("0=a,1=", "names: the name of cluster 1 is empty; leave it out"),
        ("0=  ", "names: the name of cluster 0 is empty"),
        ("0=a\nb", "names: a name has at most 60 printable characters"),
        ("0=" + "x" * 61, "names: a name has at most 60 printable characters"),
        ("0=1", "names: cluster 0 cannot be named '1': that is the number of a cluster"),
        ("young", "names must be 0=young,1=old, or the path of a table"),
        ("", "names must be 0=young,1=old"),
        ("0=a,,1=b", "names must be 0=young,1=old"),
        ("missing.csv", "names: no such file: missing.csv"),
    ],
)
def test_other_names_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        cluster_names(text, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cluster,name\n0,a\n1,\n", "the name of cluster 1 is empty"),
        ("cluster,name\n0,a\n0,b\n", "cluster 0 is named twice"),
        ("cluster,name\n0,a\n7,b\n", "no cluster '7'; there are 3 clusters"),
        ("name,cluster\na,0\n", "no cluster 'a'"),
        ("cluster,name,size\n0,a,3\n", "must have two columns, cluster and name"),
        ("0,young\n1,old\n", "its first row must name the columns: cluster, name"),
        ("cluster,name\n", "no names given"),
    ],
)
def test_tables_of_other_names_are_refused(tmp_path, text, message):
    path = tmp_path / "names.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as refusal:
        cluster_names(str(path), 3)
    assert str(path) in str(refusal.value)


def test_clusters_are_found_by_number_and_by_name():
    names = {0: "Young", 2: "old"}
    assert find_clusters(["old", "1", "2", " young "], names, 3) == [2, 1, 0]
    with pytest.raises(ValueError, match="cluster must be from 0 to 2, or one of 'Young', 'old', "):
        find_clusters(["older"], names, 3)
    with pytest.raises(ValueError, match="cluster must be from 0 to 2, got '3'"):
        find_clusters(["3"], {}, 3)


def test_names_are_kept_with_their_run_and_with_no_other(run, folder, tmp_path):
    mine = tmp_path / "mine"
    named = replace(run, names={0: "young", 1: HOSTILE})
    save_run(mine, named, overwrite=False)
    assert read_record(mine).names == read_run(mine).names == named.names
    assert (named.called(0), named.called(2), named.name_of(2)) == ("0 (young)", "2", "2")
    write_names(mine, {2: "old"})
    assert read_record(mine).names == {2: "old"}
    for name in ("profiles.csv", "report.html"):
        (mine / name).write_text("of the run before")
    save_run(mine, run, overwrite=True)
    assert read_record(mine).names == {}
    assert not {NAMES, "profiles.csv", "report.html"} & {path.name for path in mine.iterdir()}
    assert read_record(folder).names == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "names.json: not JSON"),
        ("[1]", "names.json is damaged"),
        ('{"0": 3}', "names.json is damaged"),
        (json.dumps({"5": "x"}), "names.json: no cluster '5'"),
        (json.dumps({"0": ""}), "names.json: the name of cluster 0 is empty"),
    ],
)
def test_kept_names_that_were_altered_are_refused(tmp_path, text, message):
    (tmp_path / NAMES).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_names(tmp_path, 3)
