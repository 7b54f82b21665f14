"""Settings: precedence, presets, and errors that name the nearest key."""

import pytest

from banyan.node.settings import KNOWN, SettingsError, describe, load, save


@pytest.fixture
def path(tmp_path):
    return tmp_path / "settings.toml"


def test_a_node_without_a_file_has_the_defaults(path):
    settings = load(path, environment={})
    assert settings.preset == "lan"
    assert settings.network.mdns
    assert settings.training.data is None


def test_flags_beat_the_environment_which_beats_the_file(path):
    path.write_text('preset = "wan"\n[network]\nport = 1\nlisten = "10.0.0.1"\ntimeout = 5.0\n')
    settings = load(
        path, {"network.port": 3, "network.timeout": None}, {"BANYAN_NETWORK_PORT": "2", "HOME": "/x"}
    )
    assert settings.network.port == 3
    assert load(path, None, {"BANYAN_NETWORK_PORT": "2"}).network.port == 2
    assert load(path, None, {}).network.port == 1
    assert settings.network.timeout == 5.0


def test_a_preset_sets_several_values_and_a_named_one_wins_over_it(path):
    local = load(path, {"preset": "local"}, {})
    assert (local.network.listen, local.network.mdns) == ("127.0.0.1", False)
    assert load(path, {"preset": "local", "network.mdns": True}, {}).network.mdns


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("network.prot", "network.port"),
        ("port", "network.port"),
        ("trainig.steps", "training.steps"),
        ("presett", "preset"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(path, name, nearest):
    with pytest.raises(SettingsError, match=f"Did you mean {nearest}") as caught:
        load(path, {name: 1}, {})
    assert name in caught.value.what


def test_an_unknown_key_says_where_it_stands(path):
    path.write_text("[network]\nprot = 1\n")
    with pytest.raises(SettingsError, match=r"settings\.toml sets network\.prot"):
        load(path, None, {})
    with pytest.raises(SettingsError, match=r"The environment sets network\.prot"):
        load(path.with_name("none"), None, {"BANYAN_NETWORK_PROT": "1"})


def test_a_value_out_of_bounds_is_named(path):
    with pytest.raises(SettingsError, match=r"network\.port cannot be 70000"):
        load(path, {"network.port": 70000}, {})
    with pytest.raises(SettingsError, match="one of local, lan, wan"):
        load(path, {"preset": "moon"}, {})


def test_a_file_that_is_no_toml_is_named_with_its_line(path):
    path.write_text("[network\n")
    with pytest.raises(SettingsError, match="line 1"):
        load(path, None, {})


def test_saving_keeps_what_was_there_and_refuses_what_would_not_load(path, tmp_path):
    path.write_text('preset = "local"\n[network]\nport = 4701\n')
    save(
        path,
        {
            "training.data": tmp_path / 'with "quotes" and \\ and ü.jsonl',
            "network.announce": ["/ip4/1.2.3.4/tcp/1"],
        },
    )
    settings = load(path, None, {})
    assert settings.network.port == 4701
    assert settings.preset == "local"
    assert settings.training.data == tmp_path / 'with "quotes" and \\ and ü.jsonl'
    assert settings.network.announce == ("/ip4/1.2.3.4/tcp/1",)
    before = path.read_text()
    with pytest.raises(SettingsError):
        save(path, {"network.port": -1})
    assert path.read_text() == before
    save(path, {"network.port": None})
    assert load(path, None, {}).network.port == 0


def test_every_setting_says_what_it_trades():
    for name, _, description in describe():
        assert len(description) > 20, name
    assert "network.port" in KNOWN
