from glob import glob

from setuptools import setup

PACKAGE = "edge_interaction"

setup(
    name=PACKAGE,
    version="0.1.0",
    packages=[PACKAGE],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/launch", glob("launch/*.launch.py")),
        (f"share/{PACKAGE}/config", glob("config/*.yaml")),
        (f"share/{PACKAGE}/foxglove", glob("foxglove/*.json")),
    ],
    install_requires=["setuptools"],
    tests_require=["pytest"],  # without it colcon finds no test
    zip_safe=True,
    maintainer="edge_runtime contributors",
    maintainer_email="maintainers@edge-runtime.example",
    description="A lifecycle node that hosts edge_runtime: speech and actions as topics.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            f"interaction = {PACKAGE}.main:main",
            f"latency = {PACKAGE}.latency:main",
            f"loudspeaker = {PACKAGE}.loudspeaker:main",
            f"person = {PACKAGE}.person:main",
        ]
    },
)
