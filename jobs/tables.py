"""The tables, as declarations; `jobs/store/` holds every statement, `migrations/` every change.

Times are integer milliseconds since the epoch, by the database's clock unless said otherwise.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Conditions of partial indexes. A statement must hold the same text for the index to be used.
ACTIVE = "active"
UNFINISHED = "state IN ('queued', 'running')"
RUNNING = "state = 'running'"


def _index_of_given(table: str, column: str) -> Index:
    """An index of the rows in which this column is given, which are few."""
    there = text(f"{column} IS NOT NULL")
    return Index(f"ix_{table}_{column}", column, sqlite_where=there, postgresql_where=there)


conversations = Table(
    "conversations",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("persona_id", String(40)),
    Column("created_at", BigInteger, nullable=False),
    # It goes on from the end of this generation, which is in another conversation.
    Column("forked_from", String(40)),
    _index_of_given("conversations", "forked_from"),
)

personas = Table(
    "personas",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("name", Text, nullable=False),
    Column("brief", Text, nullable=False),
    Column("conversation_id", ForeignKey("conversations.id"), nullable=False),
    # The newest committed version; 0 until the first one is.
    Column("version", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    Index("ix_personas_owner_id", "owner", "id"),
    _index_of_given("personas", "deleted_at"),
)

persona_versions = Table(
    "persona_versions",
    metadata,
    Column("persona_id", ForeignKey("personas.id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("generation_id", ForeignKey("generations.id"), nullable=False),
    Column("skills", JSON, nullable=False),
    Column("derived", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_persona_versions_generation_id", "generation_id"),
)

# A file's content over a span of versions: it is part of version v when
# since_version <= v and (until_version is null or v < until_version).
persona_files = Table(
    "persona_files",
    metadata,
    Column("persona_id", ForeignKey("personas.id"), primary_key=True),
    Column("path", String(255), primary_key=True),
    Column("since_version", Integer, primary_key=True),
    Column("until_version", Integer),
    Column("content", Text, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("started_at", BigInteger, nullable=False),
    # A worker silent for longer than the lease has lost its generations.
    Column("heartbeat_at", BigInteger, nullable=False),
    Column("capacity", Integer, nullable=False),
    Column("running", Integer, nullable=False),
)

generations = Table(
    "generations",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    # The fence: only the newest attempt may append events or commit.
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    # Claims that ended without an orderly hand-over, counted when the next claim finds it out.
    Column("lost_attempts", Integer, nullable=False, server_default=text("0")),
    # Holds its conversation's one active place; false while it waits in line, and once ended.
    Column("active", Boolean, nullable=False),
    Column("worker_id", String(40)),
    # What the newest claim took over: from whom, and why its events open with a reset.
    Column("previous_worker_id", String(40)),
    Column("reset_reason", String(16)),
    # Its last worker stopped in order and gave it back.
    Column("handed_over", Boolean, nullable=False, server_default=text("false")),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    # May it be started again after its first event? (false for protocols that know no reset)
    Column("restartable", Boolean, nullable=False, server_default=text("true")),
    Column("depth", Integer, nullable=False, server_default=text("0")),
    # Where its request stands in a trace (W3C), null when that is not traced.
    Column("traceparent", String(64)),
    Column("model", String(200), nullable=False),
    Column("conversation_id", ForeignKey("conversations.id"), nullable=False),
    Column("persona_id", ForeignKey("personas.id")),
    Column("input", Text, nullable=False),
    Column("idempotency_key", String(255)),
    Column("idempotency_hash", String(64)),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("expires_at", BigInteger, nullable=False),
    # The result; all null until a terminal state. The terminal event is (last_seq, last_offset).
    Column("last_seq", Integer),
    Column("last_offset", Integer),
    Column("timeline", LargeBinary),
    Column("finish_reason", String(64)),
    Column("persona_version", Integer),
    Column("files", JSON),
    Column("skills", JSON),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("error_retryable", Boolean),
    # Of one that was begun in another protocol: what that protocol's answers repeat of the
    # request, how often its client had tried, and since when that client wants it gone.
    Column("asked", JSON),
    Column("tried", Integer),
    Column("hidden_at", BigInteger),
    UniqueConstraint("owner", "idempotency_key"),
    Index("ix_generations_owner_id", "owner", "id"),
    Index("ix_generations_owner_created_at", "owner", "created_at"),
    Index("ix_generations_created_at", "created_at"),
    Index("ix_generations_finished_at", "finished_at"),
    # At most one active generation a conversation, held by the database (protocol §8).
    Index(
        "uq_generations_active_conversation",
        "conversation_id",
        unique=True,
        sqlite_where=text(ACTIVE),
        postgresql_where=text(ACTIVE),
    ),
    # A conversation's line: the active one and those that wait, in order.
    Index(
        "ix_generations_line",
        "conversation_id",
        "created_at",
        "id",
        sqlite_where=text(UNFINISHED),
        postgresql_where=text(UNFINISHED),
    ),
    # What the rescuer looks through: everything that has not ended.
    Index(
        "ix_generations_unfinished",
        "state",
        "created_at",
        sqlite_where=text(UNFINISHED),
        postgresql_where=text(UNFINISHED),
    ),
    # What each worker counts once a second, and each rescuer looks through for what was lost: with
    # all that they ask, so that they read no rows.
    Index(
        "ix_generations_running",
        "worker_id",
        "attempt",
        "handed_over",
        "cancel_requested",
        "id",
        # SQLite reads it for the condition, which says what it is.
        "state",
        sqlite_where=text(RUNNING),
        postgresql_where=text(RUNNING),
    ),
)

turns = Table(
    "turns",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("conversation_id", ForeignKey("conversations.id"), nullable=False),
    Column("generation_id", ForeignKey("generations.id"), nullable=False),
    Column("role", String(16), nullable=False),
    # Rises in a conversation: turns in the order of their generations, user then assistant.
    Column("position", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("partial", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # At most one turn of a role a generation: a second commit can't be stored.
    UniqueConstraint("generation_id", "role"),
    UniqueConstraint("conversation_id", "position"),
)

# What clients of other protocols call a conversation, in words of their own (protocol §10).
threads = Table(
    "threads",
    metadata,
    Column("owner", String(200), primary_key=True),
    Column("protocol", String(16), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("conversation_id", ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    # The newest one that was begun through this thread.
    Column("generation_id", ForeignKey("generations.id", ondelete="SET NULL")),
    Column("created_at", BigInteger, nullable=False),
    _index_of_given("threads", "generation_id"),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    # The token's first 12 characters; the rest is kept as a hash only.
    Column("prefix", String(12), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("owner", String(200), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("last_used_at", BigInteger),
    Column("revoked_at", BigInteger),
)

breakers = Table(
    "breakers",
    metadata,
    Column("endpoint", Text, primary_key=True),
    Column("model", String(200), primary_key=True),
    # In a row, across all workers; there is a row only while there are any.
    Column("failures", Integer, nullable=False),
    # How long it stays open before the next probe, without the jitter.
    Column("pause_ms", Integer, nullable=False),
    # Null while it lets everything pass.
    Column("opened_at", BigInteger),
    Column("retry_at", BigInteger),
    # The one attempt that tries whether the model answers again, `<generation>:<attempt>`.
    Column("probe", String(64)),
    Column("probe_until", BigInteger),
    Column("changed_at", BigInteger, nullable=False),
)
