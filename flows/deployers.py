"""What deployers make of a flow, without the cloud: Argo Workflows, Step Functions and Airflow."""

import ast
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from metaflow import FlowSpec, step

# A deployed flow's data is in S3: the client refuses to deploy with another datastore.
DATASTORES = ["s3"]

# What the client needs to compile for Argo Workflows and Airflow. Without a bound on boto3 its very
# first release is taken, to go with the newest kubernetes: both bound python-dateutil.
PACKAGES = ["kubernetes", "boto3>=1.26"]

ACTIONS = [
    {"verb": "run"},
    {
        "verb": "command",
        "name": "step_functions",
        "about": "the flow is compiled for AWS Step Functions",
        "client": ">=2.1.0",
        "service": ">=2.0.2",
        "args": ["step-functions", "create", "--only-json"],
        "env": {
            "METAFLOW_BATCH_JOB_QUEUE": "queue",
            "METAFLOW_ECS_S3_ACCESS_IAM_ROLE": "arn:aws:iam::1:role/s3",
            "METAFLOW_SFN_IAM_ROLE": "arn:aws:iam::1:role/sfn",
            "METAFLOW_SFN_DYNAMO_DB_TABLE": "table",
        },
    },
    {
        "verb": "command",
        "name": "argo",
        "about": "the flow is compiled for Argo Workflows",
        "client": ">=2.6.0",
        "service": ">=2.0.2",
        "args": ["argo-workflows", "create", "--only-json"],
    },
    {
        "verb": "command",
        "name": "airflow",
        "about": "the flow is compiled for Airflow",
        "client": ">=2.7.4",
        "service": ">=2.0.2",
        "args": ["airflow", "create", "deployed.py"],
    },
]

CHECKS = {
    "step_functions_steps": {
        "about": "the state machine has a state for each step",
        "client": ">=2.1.0",
        "service": ">=2.0.2",
        "action": "step_functions",
    },
    "argo_steps": {
        "about": "the workflow has a template for each step",
        "client": ">=2.6.0",
        "service": ">=2.0.2",
        "action": "argo",
    },
    "airflow_steps": {
        "about": "the written file is Python, and makes a task of each step",
        "client": ">=2.7.4",
        "service": ">=2.0.2",
        "action": "airflow",
    },
}

SHOWS = {"steps": {"start": 1, "left": 1, "right": 1, "join": 1, "end": 1}}

STEPS = ["start", "left", "right", "join", "end"]


class DeployersFlow(FlowSpec):
    """Split and join."""

    @step
    def start(self):
        self.next(self.left, self.right)

    @step
    def left(self):
        self.next(self.join)

    @step
    def right(self):
        self.next(self.join)

    @step
    def join(self, inputs):  # noqa: ARG002 - what makes it a join
        self.next(self.end)

    @step
    def end(self):
        pass


def read_json(text):
    """Return the object that a text ends with, or has after other lines."""
    return json.JSONDecoder().raw_decode(text[text.index("{") :])[0]


def states(value):
    """Yield the names of all states of a machine: a branch is a machine within a state."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if key == "States":
            yield from inner
        if isinstance(inner, (dict, list)):
            yield from states(inner)


def check_step_functions_steps(output):
    """Look for the steps among the states' names; that a state comes next makes none."""
    found = set(states(read_json(output.stdout)))
    assert set(STEPS) <= found, "missing: %r" % sorted(set(STEPS) - found)


def check_argo_steps(output):
    """Look for the steps among the templates' names."""
    made = read_json(output.stdout)
    assert made["kind"] == "WorkflowTemplate", "it is a %r" % made["kind"]
    found = {template["name"] for template in made["spec"]["templates"]}
    assert set(STEPS) <= found, "missing: %r" % sorted(set(STEPS) - found)


def check_airflow_steps(output):
    """Look for the steps among the tasks that the file makes, in what it assigns first."""
    text = Path("deployed.py").read_text(encoding="utf-8")
    made = next(one for one in ast.parse(text).body if isinstance(one, ast.Assign))
    found = {task["name"] for task in ast.literal_eval(made.value)["states"].values()}
    assert set(STEPS) <= found, "missing: %r" % sorted(set(STEPS) - found)
    assert output.code == 0


class NothingDeployed(BaseHTTPRequestHandler):
    """Answer as AWS Step Functions, AWS Batch and Kubernetes do before anything was deployed.

    The client asks them for an earlier deployment, and for the queue it will use, even where it
    only prints what it made.
    """

    ANSWERS = {
        "/": {"stateMachines": []},
        "/v1/describejobqueues": {
            "jobQueues": [{"computeEnvironmentOrder": [{"order": 1, "computeEnvironment": "any"}]}]
        },
        "/v1/describecomputeenvironments": {
            "computeEnvironments": [{"computeResources": {"type": "EC2"}}]
        },
        "/v1/describejobdefinitions": {"jobDefinitions": []},
        "/v1/registerjobdefinition": {"jobDefinitionArn": "arn:aws:batch:::job-definition/any:1"},
    }

    def do_POST(self):
        """Answer AWS's requests."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        known = self.path in self.ANSWERS
        self.answer(200 if known else 400, self.ANSWERS.get(self.path, {"message": self.path}))

    def do_GET(self):
        """Say of all objects of Kubernetes that they are not there."""
        self.answer(404, {"kind": "Status", "message": "not found", "code": 404})

    def answer(self, status, body):
        """Send what a service says."""
        content = json.dumps(body).encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        """Say nothing: checks read the output."""


def without_cloud():
    """Let what this process asks of a cloud be answered by a server of its own."""
    server = HTTPServer(("127.0.0.1", 0), NothingDeployed)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = "http://127.0.0.1:%d" % server.server_port
    os.environ.update(AWS_ENDPOINT_URL_SFN=url, AWS_ENDPOINT_URL_BATCH=url)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "none",
        "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
        "clusters": [{"name": "none", "cluster": {"server": url}}],
        "users": [{"name": "none", "user": {}}],
    }
    file = Path("kubernetes.json").resolve()
    file.write_text(json.dumps(config), encoding="utf-8")
    os.environ["KUBECONFIG"] = str(file)


if __name__ == "__main__":
    if "create" in sys.argv:
        without_cloud()
    DeployersFlow()
