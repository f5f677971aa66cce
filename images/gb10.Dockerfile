# The images of a GB10 (linux/arm64, sm_121): they differ in their locks alone. BASE comes from
# image.toml, by digest. Wheels are installed in a stage on the build platform, so that an arm64 image is
# assembled anywhere; only apt's packages need the machine itself, or emulation.
ARG BASE
# Ubuntu's archive as it was at this moment: the versions below follow from it.
ARG APT_SNAPSHOT=20261101T000000Z

FROM --platform=$BUILDPLATFORM ${BASE} AS wheels
ARG APT_SNAPSHOT
ARG SOURCE_DATE_EPOCH
ARG PYTHON_PLATFORM
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
# The base's own CUDA list is no snapshot: what it names today is another thing tomorrow.
RUN rm -f /etc/apt/sources.list.d/cuda* \
 && apt-get update --snapshot "$APT_SNAPSHOT" \
 && apt-get install --yes --no-install-recommends --snapshot "$APT_SNAPSHOT" python3 python3-venv
COPY --chmod=u=rwX,go=rX builder.lock /build/builder.lock
RUN python3 -m venv /build/uv \
 && /build/uv/bin/pip install --quiet --require-hashes --no-deps -r /build/builder.lock \
 && python3 -m venv --without-pip /opt/env
COPY --chmod=u=rwX,go=rX gb10 /build/image/gb10
# Only the download cache is kept between builds; the lock's hashes decide what may come from it.
RUN --mount=type=cache,target=/build/cache,sharing=locked \
    cd /build/image \
 && UV_SYSTEM_CERTS=1 /build/uv/bin/uv --quiet --cache-dir /build/cache pip sync \
      --require-hashes --no-build --link-mode copy --python /opt/env/bin/python \
      --python-platform "$PYTHON_PLATFORM" gb10/requirements.lock \
 && { python3 -m compileall -q --invalidation-mode unchecked-hash /opt/env/lib || true; }

FROM ${BASE}
ARG APT_SNAPSHOT
ARG SOURCE_DATE_EPOCH
# Triton and torch compile small C programs when they start: they need Python's headers.
RUN rm -f /etc/apt/sources.list.d/cuda* \
 && apt-get update --snapshot "$APT_SNAPSHOT" \
 && apt-get install --yes --no-install-recommends --snapshot "$APT_SNAPSHOT" \
      python3 python3-dev python3-venv \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/ldconfig/aux-cache \
      /var/log/apt /var/log/dpkg.log /var/log/alternatives.log \
 && find / -xdev -name __pycache__ -type d -prune -exec rm -rf {} +
RUN echo 'graftsmith:x:10000:10000:graftsmith:/home/graftsmith:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'graftsmith:x:10000:' >> /etc/group \
 && mkdir /home/graftsmith && chown 10000:10000 /home/graftsmith
COPY --from=wheels /opt/env /opt/env
ENV PATH=/opt/env/bin:/usr/local/cuda/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENV LANG=C.UTF-8
USER 10000:10000
WORKDIR /home/graftsmith
CMD ["python"]
