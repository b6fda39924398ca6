"""PostgreSQL databases that the manifest grants to this component.

A statement has `$1`, `$2` and so on for its parameters, which are never read as part of it. Every call waits for the
database and leaves the host free meanwhile. Statements outside of a transaction have nothing in common, not even a
session. `Fault` is the server's answer to a wrong statement; other failures are those of `errors`: `TimedOut`,
`TooLarge` and `Refused` over a limit, `Internal` when the database fails.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from types import TracebackType
from typing import Any
from uuid import UUID

from .bindings import Err, sql
from .errors import Error, from_wit, raised_by_host

Value = None | bool | int | float | str | bytes
"""What a column can have. Values of types without a case of their own are texts."""

Parameter = Value | Decimal | date | datetime | time | UUID
"""What a parameter can have. What is no value is given as its text."""


class Fault(Error):
    """The server refused a statement, and nothing of it has happened."""

    def __init__(self, fault: Any) -> None:
        super().__init__(f"{fault.message} (SQLSTATE {fault.code})")
        self.code: str = fault.code
        """The SQLSTATE: five characters, the same in all versions and languages of the server."""
        self.message: str = fault.message
        """What is wrong."""
        self.detail: str | None = fault.detail
        """More about it."""
        self.hint: str | None = fault.hint
        """What may help."""
        self.constraint: str | None = fault.constraint
        """The constraint that does not hold."""
        self.position: int | None = fault.position
        """Where in the statement, in characters from 1."""


@dataclass(frozen=True)
class Column:
    """A column of a result."""

    name: str
    """Its name, which others may have, too."""
    type_name: str
    """The server's name of its type: `int4`."""


@dataclass(frozen=True)
class Rows:
    """A result. Iterating over it gives its rows as dictionaries."""

    columns: list[Column]
    """The columns, in their order."""
    rows: list[tuple[Value, ...]]
    """The rows, with a value for each column."""

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Mapping[str, Value]]:
        names = [column.name for column in self.columns]
        return (dict(zip(names, row, strict=True)) for row in self.rows)

    def first(self) -> Mapping[str, Value] | None:
        """The first row; none where there is no row."""
        return next(iter(self), None)


class _Statements:
    """What a database and a transaction have in common."""

    _raw: Any

    def query(self, statement: str, parameters: Sequence[Parameter] = ()) -> Rows:
        """Runs a statement, and returns its rows."""
        given = [_to_wit(parameter) for parameter in parameters]
        with _raised():
            rows = self._raw.query(statement, given)
        columns = [Column(column.name, column.type_name) for column in rows.columns]
        return Rows(columns, [tuple(_from_wit(value) for value in row) for row in rows.rows])

    def execute(self, statement: str, parameters: Sequence[Parameter] = ()) -> int:
        """Runs a statement, and returns how many rows it changed."""
        given = [_to_wit(parameter) for parameter in parameters]
        with _raised():
            count: int = self._raw.execute(statement, given)
        return count


class Transaction(_Statements):
    """Statements that happen wholly or not at all.

    As a context it is committed at the end, and rolled back by an exception. One that is left open is rolled back when
    the request has been answered.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._is_open = True

    def commit(self) -> None:
        """Ends it, so that all of it has happened."""
        self._is_open = False
        with _raised():
            self._raw.commit()

    def rollback(self) -> None:
        """Ends it, so that none of it has happened."""
        self._is_open = False
        with _raised():
            self._raw.rollback()

    def __enter__(self) -> "Transaction":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_open:
            return
        if kind is None:
            self.commit()
            return
        try:
            self.rollback()
        except Error:
            # It is over, and the exception says more.
            pass


class Database(_Statements):
    """A database as this component may use it."""

    def __init__(self, name: str) -> None:
        """Opens a database by its name in the manifest. Raises `Refused` for any name that is not granted."""
        with raised_by_host():
            self._raw = sql.open(name)

    def begin(self) -> Transaction:
        """Begins a transaction."""
        with _raised():
            raw = self._raw.begin()
        return Transaction(raw)


class _raised:
    """Turns failures of statements into exceptions."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Err):
            return
        match error.value:
            case sql.Failure_Fault(value=fault):
                raise Fault(fault) from None
            case sql.Failure_Host(value=host):
                raise from_wit(host) from None


def _to_wit(parameter: Parameter) -> Any:
    match parameter:
        case None:
            return sql.Value_Null()
        case bool():
            return sql.Value_Boolean(parameter)
        case int():
            # The server takes numbers of any length as text.
            in_range = -(2**63) <= parameter < 2**63
            return sql.Value_Integer(parameter) if in_range else sql.Value_Text(str(parameter))
        case float():
            return sql.Value_Float(parameter)
        case bytes():
            return sql.Value_Bytes(parameter)
        case datetime() | date() | time():
            return sql.Value_Text(parameter.isoformat())
        case _:
            return sql.Value_Text(str(parameter))


def _from_wit(value: Any) -> Value:
    match value:
        case sql.Value_Null():
            return None
        case _:
            got: Value = value.value
            return got
