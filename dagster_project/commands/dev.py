"""`lakehouse dev`: Dagster's and MLflow's pages on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from signal import SIGINT

import click

from dagster_project.commands.run import install_dagster_settings
from dagster_project.commands.terminal import CONSOLE
from dagster_project.lake.home import Home, find_home


@click.command()
@click.option("--port", type=int, default=3000, show_default=True, help="Dagster's port.")
@click.option("--mlflow-port", type=int, default=5000, show_default=True, help="MLflow's port.")
def dev(port: int, mlflow_port: int) -> None:
    """Dagster UI with schedules and sensors running, and MLflow UI, on 127.0.0.1. Ctrl-C stops both.

    \b
    Example:
      lakehouse dev --port 3333
    """
    serve(find_home().make(), port, mlflow_port)


def serve(home: Home, port: int, mlflow_port: int) -> None:
    """Run Dagster's web server and daemon and MLflow's server until one of them ends or Ctrl-C."""
    install_dagster_settings(home)
    repository = Path(__file__).resolve().parents[2]
    environment = os.environ | {"LAKEHOUSE_HOME": str(home.root), "DAGSTER_HOME": str(home.dagster)}
    folder = Path(sys.executable).parent
    commands = (
        [str(folder / "dagster"), "dev", "-w", str(repository / "workspace.yaml"), "-h", "127.0.0.1", "-p", str(port)],
        [str(folder / "mlflow"), "server", "--backend-store-uri", home.mlflow_uri, "--artifacts-destination", str(home.mlflow / "artifacts"),
         "--host", "127.0.0.1", "--port", str(mlflow_port), "--workers", "1"],
    )
    CONSOLE.print(f"Dagster http://127.0.0.1:{port}   MLflow http://127.0.0.1:{mlflow_port}   (Ctrl-C stops both)")
    servers = [subprocess.Popen(command, env=environment, cwd=repository) for command in commands]
    try:
        while all(server.poll() is None for server in servers):
            time.sleep(0.5)
    except KeyboardInterrupt:
        CONSOLE.print("stopping")
    finally:
        for server in servers:
            server.send_signal(SIGINT)
        for server in servers:
            server.wait(timeout=30)
