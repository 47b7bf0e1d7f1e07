"""How this process runs: defaults < `fieldline.yaml` < `FIELDLINE_*`."""

import os
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource


def default_data_directory() -> Path:
    """Where an installation keeps its data: /var/lib/fieldline for root, else under the user's home."""
    return Path("/var/lib/fieldline") if os.geteuid() == 0 else Path.home() / ".local/share/fieldline"


class Settings(BaseSettings):
    """Settings of one Fieldline process."""

    model_config = SettingsConfigDict(env_prefix="FIELDLINE_", yaml_file="fieldline.yaml", extra="ignore", frozen=True)

    data_directory: Path = Field(
        default_factory=default_data_directory, description="Where embedded servers, keys and caches live."
    )
    database_url: SecretStr = Field(SecretStr(""), description="PostgreSQL 16 or newer; empty starts the embedded one.")
    broker_url: SecretStr = Field(SecretStr(""), description="Redis or RabbitMQ for Celery; empty starts the embedded Redis.")
    key_file: Path | None = Field(None, description="File of the wrapping key (32 bytes); default DATA_DIRECTORY/wrapping.key.")
    key_provider: str = Field(
        "file", pattern="^(file|env)$", description="Where the wrapping key comes from: file, or env (FIELDLINE_KEY)."
    )
    api_host: str = Field("127.0.0.1", description="Address that the API listens on.")
    api_port: int = Field(8417, ge=0, le=65535, description="Port that the API listens on; 0 takes a free one.")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least level that is logged.")
    chunk_rows: int = Field(10_000, ge=1, le=100_000, description="Rows of a chunk.")
    max_waiting_chunks: int = Field(8, ge=1, le=1000, description="Chunks of a run that may wait for scoring before reading stops.")
    max_waiting_events: int = Field(50_000, ge=1, description="Events that may wait before hooks answer 429.")
    max_events_in_chunk: int = Field(1000, ge=1, le=100_000, description="Events that are scored together at most.")
    lease_s: float = Field(
        30.0, gt=0, le=3600, description="Seconds a lease holds without renewal; it is renewed at a third of it."
    )
    resend_s: float = Field(10.0, gt=0, description="Seconds after which work that nobody claimed is announced again.")
    max_crashes: int = Field(3, ge=1, le=20, description="Claims that may end without a word before work is bisected or set aside.")
    model_timeout_s: float = Field(60.0, gt=0, description="Time limit of one model run.")
    model_cache: int = Field(8, ge=1, le=256, description="Models a process keeps loaded.")
    stall_s: float = Field(60.0, gt=0, description="A worker that claims nothing for so long while work waits exits.")
    retain_days: int = Field(30, ge=1, description="Days that finished runs and chunks are kept; evidence stays.")
    retain_inbox_days: int = Field(7, ge=7, description="Days that event ids are kept to recognise repeats.")
    retain_checkpoints_days: int = Field(
        7, ge=1, description="Days that all checkpoints of the log are kept; of older ones the last of each day stays for good."
    )
    witnesses: Path | None = Field(
        None, description="YAML file that names the witnesses of the log, to whom its checkpoints are shown; the relay reads it."
    )
    openlineage_url: str = Field(
        "", description="Address of an OpenLineage endpoint (https://…/api/v1/lineage) that is told of runs; empty tells nobody."
    )
    openlineage_key: SecretStr = Field(SecretStr(""), description="API key for that endpoint, sent as a bearer token.")
    openlineage_network: str = Field(
        "", description="Network in which that endpoint lies, such as 10.20.0.0/16, where it is not a public one."
    )
    openlineage_namespace: str = Field("fieldline", min_length=1, description="Namespace of the jobs that it is told of.")
    key_backup_days: int = Field(
        7, ge=1, le=365, description="Days that your backups of the table batch_key are kept; a certificate of erasure names them."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The order in which sources win: arguments, environment, file."""
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls)
