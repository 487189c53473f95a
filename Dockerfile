# hmopt on the CPU.
#
#   docker build --tag hmopt .
#   docker run --rm --volume "$PWD:/work" hmopt demo demo     the demo; its report is demo/report/index.html
#   docker run --rm --volume "$PWD:/work" hmopt run studies/mine
FROM python:3.12-slim

ENV PIP_NO_CACHE_DIR=1 \
    PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu \
    MPLCONFIGDIR=/tmp/matplotlib

WORKDIR /opt/hmopt
COPY pyproject.toml README.md LICENSE ./
COPY hmopt ./hmopt
RUN pip install .

WORKDIR /work
ENTRYPOINT ["hmopt"]
CMD ["demo", "demo"]
