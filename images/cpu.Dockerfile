# The images of a machine without a GPU: they differ in their locks alone. BASE comes from
# image.toml, by digest. Two builds give the same bytes: wheels by hash, bytecode in one process
# with a fixed hash seed, no log and no cache of a package manager, every time set by the build.
ARG BASE

FROM --platform=$BUILDPLATFORM ${BASE} AS wheels
ARG SOURCE_DATE_EPOCH
ARG PYTHON_PLATFORM
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
COPY --chmod=u=rwX,go=rX builder.lock /build/builder.lock
RUN python3 -m pip install --quiet --require-hashes --no-deps --target /build/uv -r /build/builder.lock \
 && python3 -m venv --without-pip /opt/env
COPY --chmod=u=rwX,go=rX cpu /build/image/cpu
# Only the download cache is kept between builds; the lock's hashes decide what may come from it.
RUN --mount=type=cache,target=/build/cache,sharing=locked \
    cd /build/image \
 && UV_SYSTEM_CERTS=1 /build/uv/bin/uv --quiet --cache-dir /build/cache pip sync \
      --require-hashes --no-build --link-mode copy --python /opt/env/bin/python \
      --python-platform "$PYTHON_PLATFORM" cpu/requirements.lock \
 && if [ -d cpu/overlay ]; then cp -r cpu/overlay/. /opt/env/lib/python3*/site-packages/; fi \
 && { python3 -m compileall -q --invalidation-mode unchecked-hash /opt/env/lib || true; }

FROM ${BASE}
ARG SOURCE_DATE_EPOCH
# Where apt looks for the packages of apt.lock, as a line of sources.list; empty: where the base looks.
# A dated snapshot still has what Debian's own mirrors have dropped.
ARG APT_SOURCE=
RUN --mount=type=bind,source=cpu/apt.lock,target=/run/apt.lock \
    --mount=type=tmpfs,target=/run/debs \
    cd /run/debs \
 && awk -v own="$(dpkg --print-architecture)" '$2 == own' /run/apt.lock > wanted \
 && if [ -s wanted ]; then \
      if [ -n "$APT_SOURCE" ]; then rm -rf /etc/apt/sources.list*; echo "$APT_SOURCE" > /etc/apt/sources.list; fi \
   && apt-get -qq update && apt-get -qq download $(cut -d' ' -f1 wanted) \
   && cut -d' ' -f3 wanted | sort > locked && sha256sum *.deb | cut -d' ' -f1 | sort > got \
   && { diff locked got || { echo 'Hash mismatch: a package of apt.lock is another one by now' >&2; exit 1; }; } \
   && dpkg --install *.deb \
   && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/ldconfig/aux-cache /var/log/apt \
        /var/log/dpkg.log /var/lib/dpkg/*-old; \
    fi
RUN echo 'graftsmith:x:1000:1000:graftsmith:/home/graftsmith:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'graftsmith:x:1000:' >> /etc/group \
 && mkdir /home/graftsmith && chown 1000:1000 /home/graftsmith
COPY --from=wheels /opt/env /opt/env
ENV PATH=/opt/env/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
USER 1000:1000
WORKDIR /home/graftsmith
CMD ["python"]
