"""The simulator: realistic values, whole schemas kept, identifiers that exist and those that do not."""

import json
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pastcli.api import Parameter, Task, ToolSpec, object_schema
from pastcli.tools.environments import values
from pastcli.tools.environments.simulator import SchemaSimulator
from pastcli.tools.schemas import normalise_value
from pastcli.tools.validate import validator
from pastcli.tools.warnings import Warnings


def spec_of(api="Get Order", template=None, response=None, **parameters):
    schema = object_schema(*(Parameter(name, kind) for name, kind in parameters.items()))
    mended = normalise_value(response, "r", Warnings()) or None
    return ToolSpec("f", "c", "t", api, schema=schema, response_template=template, response_schema=mended)


def answer(spec, tasks=(), asked=(), **arguments):
    return SchemaSimulator([spec], tasks, asked).call(spec, arguments)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("createdAt", "created_at"),
        ("imageURL", "image_url"),
        ("imdbIDList", "imdb_id_list"),
        ("petId", "pet_id"),
        ("HTMLBody", "html_body"),
        ("x1Y", "x1_y"),
    ],
)
def test_camel_case_is_split_into_words(name, words):
    assert values.words_of(name) == words


@given(st.integers(0, 2**64 - 1))
def test_every_date_made_up_exists(draw):
    for field in ("createdDate", "updated", "birthDay", "date", "born", "dateOfBirth"):
        date.fromisoformat(values.text(values.words_of(field), draw))
    assert 1930 <= int(values.text("birth_year", draw)) <= 2004 and values.text("birth_date", draw) < "2001"
    assert values.text("created_at", draw)[10] == "T" and values.text("x", draw, "date-time").endswith("Z")
    assert values.integer("timestamp", draw) > 10**9 and 1 <= values.integer("month", draw) <= 12


def test_camel_case_fields_get_what_their_words_mean_and_arguments_keep_their_types():
    template = {
        "imageUrl": "str",
        "createdAt": "str",
        "userEmail": "str",
        "from_harbour": "str",
        "isOpen": "bool",
        "seats": "int",
        "open": "str",
    }
    spec = spec_of("List Sailings", template, fromHarbour="string", isOpen="boolean", seats="integer", open="boolean")
    found = answer(spec, fromHarbour="Oslo", isOpen=False, seats=3, open=True).response
    assert found["imageUrl"].endswith(".jpg") and "T" in found["createdAt"] and "@" in found["userEmail"]
    assert (found["from_harbour"], found["isOpen"], found["seats"], found["open"]) == ("Oslo", False, 3, "true")
    plain = answer(
        spec_of("Count Things", None, n="integer", x="number", b="boolean", l="array"), n=2, x=1.5, b=False, l=["str"]
    ).response
    assert (plain["n"], plain["x"], plain["b"], plain["l"]) == (2, 1.5, False, ["str"])


RESPONSE = {
    "type": "object",
    "required": ["items"],
    "properties": {
        "items": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"$ref": "#/$defs/Item"}},
        "page": {"type": "integer", "minimum": 3, "maximum": 4},
    },
    "$defs": {
        "Item": {
            "type": "object",
            "properties": {
                "state": {"enum": ["open", "shut"]},
                "share": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                "when": {"type": "string", "format": "date"},
                "code": {"type": "string", "minLength": 30, "maxLength": 32},
                "next": {"anyOf": [{"$ref": "#/$defs/Item"}, {"type": "null"}]},
                "step": {"type": "integer", "multipleOf": 5, "minimum": 10, "maximum": 20},
                "key": {"const": "k"},
                "uid": {"type": "string", "format": "uuid"},
                "pair": {"prefixItems": [{"type": "integer"}, {"type": "boolean"}], "type": "array", "minItems": 2},
                "whole": {
                    "allOf": [
                        {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                        {"properties": {"b": {"type": "string"}}, "required": ["b"]},
                    ]
                },
            },
            "required": ["state", "share", "when", "code"],
        }
    },
}


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=8))
def test_a_response_keeps_its_documented_schema_whole(query):
    spec = spec_of("Search", None, RESPONSE, query="string")
    found = answer(spec, query=query).response
    assert [error.message for error in validator(spec.response_schema).iter_errors(found)] == []
    assert len(found["items"]) == 2 and found["items"][0] != found["items"][1] and len(json.dumps(found)) < 200_000


def test_a_thing_says_the_identifier_it_was_asked_by_and_does_not_hold_itself_for_ever():
    pet = {
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "parent": {"$ref": "#/$defs/Pet"},
            "young": {"type": "array", "items": {"$ref": "#/$defs/Pet"}},
        },
    }
    spec = spec_of("Get Pet", None, {"$ref": "#/$defs/Pet", "$defs": {"Pet": pet}}, petId="integer")
    found = answer(spec, petId=17).response
    assert found["id"] == 17 and set(found) <= {"id", "parent", "young"}
    assert all(
        "parent" not in inner and inner["id"] != 17
        for inner in [*found.get("young", []), found.get("parent", {"id": 0})]
    )


def test_an_identifier_exists_if_query_documentation_or_an_earlier_answer_names_it():
    listing = spec_of("List Orders", [{"orderId": "str", "_list_length": 3}])
    one = ToolSpec(
        "g", "c", "t", "Get Order", "For example FT-77.", schema=object_schema(Parameter("order_id", required=True))
    )
    other = ToolSpec("h", "c", "u", "Get Other", schema=one.schema)
    tasks = [Task("1", "Where is order FT-2088, and is it late?", (listing, one))]
    simulator = SchemaSimulator([listing, one, other], tasks, ["What about ZZ-1?"])
    made = [item["orderId"] for item in simulator.call(listing, {}).response]
    for known in ["FT-2088", "ft-2088", "FT-77", "ZZ-1", *made]:
        assert simulator.call(one, {"order_id": known}).error == "", known
    for invented in ("x", "FT-2089", "1", "2088", "", "O1234-99x"):
        assert simulator.call(one, {"order_id": invented}).error == f'no order with order_id "{invented}" was found'
    # a tool that no query came with: its users' identifiers are not known here, but a placeholder is one
    assert simulator.call(other, {"order_id": "AB-12"}).error == ""
    assert all(simulator.call(other, {"order_id": bad}).error for bad in ("x", "<id>", "your_id", "string", "123"))


def test_numbers_and_lists_of_identifiers_are_looked_up_and_new_ones_may_be_chosen_by_the_caller():
    get = spec_of("Get Players", None, playerIds="array", seasonId="number")
    task = Task("1", "Compare players 17 and 23 in season 4512.", (get,))
    simulator = SchemaSimulator([get], [task])
    assert simulator.call(get, {"playerIds": [17, 23], "seasonId": 4512.0}).error == ""
    assert simulator.call(get, {"playerIds": [17, 99]}).error == 'no player with playerIds "99" was found'
    assert simulator.call(get, {"seasonId": 1}).error == 'no season with seasonId "1" was found'
    create = spec_of("Create Player", None, player_id="string", client_id="string")
    assert SchemaSimulator([create], [Task("1", "q", (create,))]).call(create, {"player_id": "new-1"}).error == ""


@given(st.integers(0, 2**64 - 1))
def test_what_the_simulator_makes_up_it_knows_again(draw):
    assert values.was_made_here(values.text("order_id", draw))
    assert values.was_made_here(str(values.integer("order_id", draw)))
    assert values.was_made_here(values.text("x", draw, "uuid"))


def test_made_up_identifiers_are_hardly_ever_guessed():
    guesses = [str(n) for n in range(1000, 100_000, 7)]
    assert sum(map(values.was_made_here, guesses)) < len(guesses) / 50
